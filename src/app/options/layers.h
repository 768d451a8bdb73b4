// Reads options from their sources. Precedence: command line > environment variables > config file
// > defaults.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/options/option_set.h"

namespace tensorcache::options {

// The outside world, replaceable in tests.
struct Surroundings {
  std::function<std::optional<std::string>(const std::string& name)> variable;   // of the environment; nothing if unset or empty
  std::function<std::vector<std::string>()> variable_names = [] { return std::vector<std::string>(); };
  [[nodiscard]] static Surroundings of_this_process();
};

// The name of the environment variable for an option: TENSORCACHE_CTX_SIZE for `serve`,
// TENSORCACHE_BENCH_URL for other commands.
[[nodiscard]] std::string variable_name(const OptionSet& options, const std::string& option);

// $XDG_CONFIG_HOME/tensorcache/config.toml, or the same under ~/.config; "" if neither variable is
// set.
[[nodiscard]] std::string default_config_path(const Surroundings& surroundings);
// $XDG_CACHE_HOME/tensorcache, or the same under ~/.cache; "" if neither variable is set.
[[nodiscard]] std::string cache_folder(const Surroundings& surroundings);

// The file that read_layers() takes: --config's, TENSORCACHE_CONFIG's, or the default one if it
// exists; "" if there is none.
[[nodiscard]] std::string config_path(const std::vector<std::string>& arguments, const Surroundings& surroundings);

// Fills `options` from all layers. Throws UsageError whose message begins with the layer, where it
// is not the command line: "config.toml: memory: ...". Keys are options' long names under [serve],
// [bench]; only the command's own section is read, but every section's name is checked.
void read_layers(OptionSet& options, const std::vector<std::string>& arguments, const Surroundings& surroundings,
                 const std::vector<std::string>& sections);

// Of options with two spellings, which origin (OptionSet::Item) goes first: the highest.
[[nodiscard]] int layer_rank(const std::string& origin);

// A warning for each TENSORCACHE_ variable that no command, script or example reads: it was
// probably misspelt.
[[nodiscard]] std::vector<std::string> unknown_variables(const OptionSet& options, const Surroundings& surroundings);

}   // namespace tensorcache::options
