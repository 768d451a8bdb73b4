#include "app/options/option_set.h"

#include <algorithm>
#include <charconv>
#include <CLI/CLI.hpp>

#include "base/core/units.h"
#include "app/options/suggest.h"

namespace tensorcache::options {
namespace {

std::string quoted(const std::string& text) { return "'" + text + "'"; }

std::string joined(const std::vector<std::string>& words, const char* separator) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : separator) + word;
  return out;
}

template <typename Number>
std::string number_text(Number value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return {buffer, end};
}

// Parses a number in [low, high]. Throws UsageError.
template <typename Number>
Number parse_number(const std::string& text, Number low, Number high, const char* kind) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const bool too_long = error == std::errc::result_out_of_range;
  if (text.empty() || (error != std::errc() && !too_long) || rest != end) throw UsageError(quoted(text) + " is not " + kind);
  if (!too_long && value >= low && value <= high) return value;
  std::string range = "at least " + number_text(low);
  if (high != std::numeric_limits<Number>::max()) range = "between " + number_text(low) + " and " + number_text(high);
  throw UsageError(text + " is out of range: it must be " + range);
}

template <typename Value>
Value value_or_throw(const Parsed<Value>& parsed) {
  if (!parsed) throw UsageError(parsed.error());
  return *parsed;
}

// Wraps `text` into lines of at most `width` columns.
std::vector<std::string> wrapped(const std::string& text, std::size_t width) {
  std::vector<std::string> lines(1);
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    lines.back() += (lines.back().empty() ? "" : " ") + word;
    at = end + 1;
  }
  return lines;
}

}   // namespace

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04X", static_cast<unsigned>(c));
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

bool parse_switch(const std::string& text) {
  for (const char* yes : {"on", "true", "yes", "1"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"off", "false", "no", "0"}) {
    if (text == no) return false;
  }
  throw UsageError(quoted(text) + " is neither on nor off");
}

OptionSet::OptionSet(std::string command) : command_(std::move(command)), app_(std::make_unique<CLI::App>()) {
  app_->set_help_flag();   // subcommands handle --help themselves, before any layer is read
  app_->allow_extras();
  app_->allow_windows_style_options(false);
}

OptionSet::~OptionSet() = default;

OptionSet::Item& OptionSet::add(std::string_view names, std::string meta, std::string help_text, Shape shape) {
  auto item = std::make_unique<Item>();
  item->group = group_;
  item->meta = std::move(meta);
  item->help = std::move(help_text);
  item->shape = shape;
  std::string for_cli11;
  while (!names.empty()) {
    const std::size_t comma = std::min(names.find(','), names.size());
    const std::string name(names.substr(0, comma));
    names.remove_prefix(std::min(comma + 1, names.size()));
    if (name.starts_with("--")) {
      item->name = name.substr(2);
    } else {
      item->shorts.push_back(name);
    }
    const bool two_letter_short = !name.starts_with("--") && name.size() > 2;
    if (!two_letter_short) for_cli11 += (for_cli11.empty() ? "" : ",") + name;
  }
  if (shape == Shape::kFlag) {
    item->option = app_->add_flag(for_cli11)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  } else if (shape == Shape::kValue) {
    item->option = app_->add_option(for_cli11)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  } else {
    item->option = app_->add_option(for_cli11)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    item->option->expected(-1)->allow_extra_args(false);   // one value per use, any number of uses
  }
  items_.push_back(std::move(item));
  return *items_.back();
}

OptionSet::Item& OptionSet::add_text(std::string_view names, std::string meta, std::string& target, std::string help_text) {
  Item& item = add(names, std::move(meta), std::move(help_text), Shape::kValue);
  item.default_text = target;
  item.set = [&target](const std::vector<std::string>& values) { target = values.back(); };
  item.toml = [&target] { return toml_string(target); };
  return item;
}

OptionSet::Item& OptionSet::add_int(std::string_view names, std::string meta, int& target, std::string help_text, int low, int high) {
  Item& item = add(names, std::move(meta), std::move(help_text), Shape::kValue);
  item.default_text = std::to_string(target);
  item.set = [&target, low, high](const std::vector<std::string>& values) { target = parse_number<int>(values.back(), low, high, "a whole number"); };
  item.toml = [&target] { return std::to_string(target); };
  return item;
}

OptionSet::Item& OptionSet::add_real(std::string_view names, std::string meta, double& target, std::string help_text, double low, double high) {
  Item& item = add(names, std::move(meta), std::move(help_text), Shape::kValue);
  item.default_text = number_text(target);
  item.set = [&target, low, high](const std::vector<std::string>& values) { target = parse_number<double>(values.back(), low, high, "a number"); };
  item.toml = [&target] {
    const std::string text = number_text(target);
    return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;   // TOML distinguishes 1 and 1.0
  };
  return item;
}

OptionSet::Item& OptionSet::add_size(std::string_view names, std::uint64_t& target, std::string help_text) {
  Item& item = add(names, "SIZE", std::move(help_text), Shape::kValue);
  item.default_text = exact_size(target);
  item.set = [&target](const std::vector<std::string>& values) { target = value_or_throw(parse_size(values.back())); };
  item.toml = [&target] { return toml_string(exact_size(target)); };
  return item;
}

OptionSet::Item& OptionSet::add_duration(std::string_view names, std::chrono::milliseconds& target, std::string help_text) {
  Item& item = add(names, "TIME", std::move(help_text), Shape::kValue);
  item.default_text = format_duration(target);
  item.set = [&target](const std::vector<std::string>& values) { target = value_or_throw(parse_duration(values.back())); };
  item.toml = [&target] { return toml_string(format_duration(target)); };
  return item;
}

OptionSet::Item& OptionSet::add_choice(std::string_view names, std::string& target, std::vector<std::string> choices, std::string help_text) {
  Item& item = add(names, joined(choices, "|"), std::move(help_text), Shape::kValue);
  item.default_text = target;
  item.set = [&target, choices = std::move(choices)](const std::vector<std::string>& values) {
    if (std::find(choices.begin(), choices.end(), values.back()) == choices.end()) {
      throw UsageError(quoted(values.back()) + " is not one of " + joined(choices, ", ") + did_you_mean(values.back(), choices));
    }
    target = values.back();
  };
  item.toml = [&target] { return toml_string(target); };
  return item;
}

OptionSet::Item& OptionSet::add_flag(std::string_view names, bool& target, std::string help_text) {
  Item& item = add(names, "", std::move(help_text), Shape::kFlag);
  item.set = [&target](const std::vector<std::string>& values) { target = parse_switch(values.back()); };
  item.toml = [&target] { return target ? "true" : "false"; };
  return item;
}

OptionSet::Item& OptionSet::add_switch(std::string_view names, bool& target, std::string help_text) {
  Item& item = add(names, "on|off", std::move(help_text), Shape::kValue);
  item.default_text = target ? "on" : "off";
  item.set = [&target](const std::vector<std::string>& values) { target = parse_switch(values.back()); };
  item.toml = [&target] { return target ? "\"on\"" : "\"off\""; };
  return item;
}

OptionSet::Item& OptionSet::add_list(std::string_view names, std::string meta, std::vector<std::string>& target, std::string help_text) {
  Item& item = add(names, std::move(meta), std::move(help_text), Shape::kList);
  item.set = [&target](const std::vector<std::string>& values) { target = values; };
  item.toml = [&target] {
    std::string out;
    for (const std::string& value : target) out += (out.empty() ? "" : ", ") + toml_string(value);
    return "[" + out + "]";
  };
  return item;
}

const OptionSet::Item* OptionSet::find(std::string_view name) const {
  for (const auto& item : items_) {
    if (item->name == name) return item.get();
  }
  return nullptr;
}

const OptionSet::Item* OptionSet::named(std::string_view argument) const {
  if (argument.starts_with("--")) return find(argument.substr(2));
  for (const auto& item : items_) {
    if (std::find(item->shorts.begin(), item->shorts.end(), argument) != item->shorts.end()) return item.get();
  }
  return nullptr;
}

std::string OptionSet::take_argument(std::vector<std::string>& arguments, std::string_view what) const {
  std::string taken;
  for (std::size_t i = 0; i < arguments.size();) {
    if (arguments[i].starts_with('-')) {
      const Item* item = named(arguments[i]);
      i += item != nullptr && item->shape != Shape::kFlag ? 2 : 1;
      continue;
    }
    if (!taken.empty()) throw UsageError(arguments[i] + ": one " + std::string(what) + " at a time");
    taken = arguments[i];
    arguments.erase(arguments.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return taken;
}

std::vector<std::string> OptionSet::option_names() const {
  std::vector<std::string> names;
  for (const auto& item : items_) names.push_back("--" + item->name);
  return names;
}

// Expands two-letter short names, turns "--name=" into "--name" "", and rejects an option in the
// place of a value.
std::vector<std::string> OptionSet::normalised(const std::vector<std::string>& arguments) const {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.starts_with("-") && argument.size() > 1 && argument != "--") {
      const std::string name = argument.substr(0, argument.find('='));
      const Item* item = named(name);
      const bool one_letter_with_value = argument.size() > 2 && argument[1] != '-' && named(argument.substr(0, 2)) != nullptr;
      if (item == nullptr && !one_letter_with_value) {
        std::vector<std::string> known = option_names();
        for (const auto& each : items_) known.insert(known.end(), each->shorts.begin(), each->shorts.end());
        known.emplace_back("--help");
        throw UsageError(name + ": unknown option" + did_you_mean(name, known));
      }
      if (item != nullptr) {
        out.push_back("--" + item->name + argument.substr(name.size()));
        if (out.back().ends_with('=')) {
          out.back().pop_back();
          out.emplace_back();
        } else if (item->shape != Shape::kFlag && name.size() == argument.size()) {
          if (i + 1 == arguments.size() ||
              (arguments[i + 1].starts_with("--") && named(arguments[i + 1].substr(0, arguments[i + 1].find('='))) != nullptr)) {
            throw UsageError("--" + item->name + ": needs a value (" + item->meta + ")");
          }
          out.push_back(arguments[++i]);
        }
        continue;
      }
    }
    out.push_back(argument);
  }
  return out;
}

void OptionSet::parse(const std::vector<std::string>& arguments, const std::string& origin) {
  std::vector<std::string> reversed = normalised(arguments);
  std::reverse(reversed.begin(), reversed.end());   // CLI11 takes arguments from the back
  try {
    app_->parse(reversed);
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
  for (const std::string& extra : app_->remaining()) throw UsageError(quoted(extra) + ": unexpected argument");
  for (const auto& item : items_) {
    if (item->option->count() == 0) continue;
    try {
      item->set(item->option->results());
    } catch (const UsageError& error) {
      throw UsageError("--" + item->name + ": " + error.what());
    }
    item->origin = origin;
  }
}

std::string OptionSet::help(std::size_t width) const {
  constexpr std::size_t kColumn = 34;   // column of the descriptions
  std::string out, title;
  for (const auto& item : items_) {
    if (item->group != title) {
      title = item->group;
      out += "\n" + title + ":\n";
    }
    std::string left = "  ";
    for (const std::string& name : item->shorts) left += name + ", ";
    left += "--" + item->name + (item->meta.empty() ? "" : " " + item->meta);
    std::string text = item->help;
    if (!item->default_text.empty()) text += " [" + item->default_text + "]";
    const std::vector<std::string> lines = wrapped(text, width > kColumn + 20 ? width - kColumn : 46);
    std::size_t next = 0;
    if (left.size() + 2 <= kColumn) {
      left.resize(kColumn, ' ');
      left += lines[next++];
    }
    out += left + "\n";
    for (; next < lines.size(); ++next) out += std::string(kColumn, ' ') + lines[next] + "\n";
  }
  return out;
}

std::string OptionSet::print_config() const {
  std::string out = "[" + command_ + "]\n";
  for (const auto& item : items_) {
    if (item->command_line_only) continue;
    std::string value = item->toml();
    if (item->secret && item->origin != "default") value = item->shape == Shape::kList ? "[\"********\"]" : "\"********\"";
    std::string line = item->name + " = " + value;
    line.resize(std::max<std::size_t>(line.size() + 2, 44), ' ');
    out += line + "# " + item->origin + (item->effective.empty() ? "" : ": " + item->effective) + "\n";
  }
  return out;
}

}   // namespace tensorcache::options
