// The options of one command: names, targets and help. CLI11 parses the arguments; this class adds
// llama.cpp's two-letter short names, types, and layers (config_layers.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}   // namespace CLI

namespace tensorcache::options {

// An error in the user's input: exit code 2. The message begins with the option's name and is
// complete.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class OptionSet {
 public:
  enum class Shape : std::uint8_t { kFlag, kValue, kList };

  struct Item {
    std::string name;                  // "ctx-size": the TOML key, and "--ctx-size"
    std::vector<std::string> shorts;   // "-c", "-np"
    std::string group, meta, help;
    std::string default_text;         // shown in the help; empty: not shown
    std::string origin = "default";   // layer of the present value
    std::string effective = {};       // effective value for print_config; empty: the same as the value
    Shape shape = Shape::kValue;
    bool secret = false;
    bool command_line_only = false;                             // not in a file or environment variable
    std::function<void(const std::vector<std::string>&)> set;   // throws UsageError without the name
    std::function<std::string()> toml;                          // RETURNS the present value as a TOML literal
    CLI::Option* option = nullptr;
  };

  // `command`: name of the subcommand and of the section in the config file.
  explicit OptionSet(std::string command);
  ~OptionSet();
  OptionSet(const OptionSet&) = delete;
  OptionSet& operator=(const OptionSet&) = delete;

  // Sets the heading of the options that are added next.
  void group(std::string title) { group_ = std::move(title); }

  // Adds an option. `names`: any number of short names and one long name, "-c,--ctx-size". The
  // default is the target's present value. REQUIRES: the target outlives this object. RETURNS the
  // Item, for further settings; valid as long as this object.
  Item& add_text(std::string_view names, std::string meta, std::string& target, std::string help);
  Item& add_int(std::string_view names, std::string meta, int& target, std::string help, int low = 0, int high = std::numeric_limits<int>::max());
  Item& add_real(std::string_view names, std::string meta, double& target, std::string help, double low, double high);
  Item& add_size(std::string_view names, std::uint64_t& target, std::string help);
  Item& add_duration(std::string_view names, std::chrono::milliseconds& target, std::string help);
  Item& add_choice(std::string_view names, std::string& target, std::vector<std::string> choices, std::string help);
  Item& add_flag(std::string_view names, bool& target, std::string help);
  Item& add_switch(std::string_view names, bool& target, std::string help);   // --name on|off
  Item& add_list(std::string_view names, std::string meta, std::vector<std::string>& target, std::string help);

  // Parses one layer of arguments over the earlier layers; a list replaces that of the earlier
  // layer. `origin` names the layer in print_config. Throws UsageError: "--ctx-size: ...".
  void parse(const std::vector<std::string>& arguments, const std::string& origin);

  [[nodiscard]] const Item* find(std::string_view name) const;   // by long name, without dashes
  [[nodiscard]] Item& item(std::string_view name) { return const_cast<Item&>(*find(name)); }
  // RETURNS true if the argument is an option whose value is the next argument.
  [[nodiscard]] bool takes_next(std::string_view argument) const {
    const Item* item = named(argument);
    return item != nullptr && item->shape != Shape::kFlag;
  }
  // Removes and RETURNS the one argument that is neither an option nor an option's value; empty if
  // there is none. Throws UsageError for a second one; `what` names it in the message.
  [[nodiscard]] std::string take_argument(std::vector<std::string>& arguments, std::string_view what) const;
  [[nodiscard]] const std::vector<std::unique_ptr<Item>>& items() const { return items_; }
  [[nodiscard]] const std::string& command() const { return command_; }
  [[nodiscard]] std::vector<std::string> option_names() const;   // "--ctx-size", ...

  // RETURNS the options in groups, wrapped for `width` columns.
  [[nodiscard]] std::string help(std::size_t width) const;
  // RETURNS every option's present value and its origin as a TOML section; secrets are masked.
  [[nodiscard]] std::string print_config() const;

 private:
  Item& add(std::string_view names, std::string meta, std::string help, Shape shape);
  [[nodiscard]] std::vector<std::string> normalised(const std::vector<std::string>& arguments) const;
  [[nodiscard]] const Item* named(std::string_view argument) const;   // "--ctx-size" or "-c" or "-np"

  std::string command_, group_;
  std::unique_ptr<CLI::App> app_;
  std::vector<std::unique_ptr<Item>> items_;
};

// RETURNS `text` as a TOML string literal.
[[nodiscard]] std::string toml_string(std::string_view text);

// RETURNS true for "on", "yes", "true" and "1", false for their opposites; throws UsageError
// otherwise.
[[nodiscard]] bool parse_switch(const std::string& text);

}   // namespace tensorcache::options
