// Reads options from their sources. Precedence: command line > environment variables > config file
// > defaults.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/options/option_set.h"

namespace tensorcache::options {

// Access to environment variables, replaceable in tests.
struct Environment {
  std::function<std::optional<std::string>(const std::string& name)> variable;   // RETURNS nothing if it is unset or empty
  std::function<std::vector<std::string>()> variable_names = [] { return std::vector<std::string>(); };
  [[nodiscard]] static Environment of_this_process();
};

// RETURNS the name of an option's environment variable: TENSORCACHE_CTX_SIZE for `serve`,
// TENSORCACHE_BENCH_URL for other commands.
[[nodiscard]] std::string variable_name(const OptionSet& options, const std::string& option);

// RETURNS $XDG_CONFIG_HOME/tensorcache/config.toml, or the same under ~/.config; "" if neither
// variable is set.
[[nodiscard]] std::string default_config_path(const Environment& environment);
// RETURNS $XDG_CACHE_HOME/tensorcache, or the same under ~/.cache; "" if neither variable is set.
[[nodiscard]] std::string cache_folder(const Environment& environment);

// RETURNS the file that read_layers() reads: that of --config, TENSORCACHE_CONFIG, or the default
// one if it exists; "" if there is none.
[[nodiscard]] std::string config_path(const std::vector<std::string>& arguments, const Environment& environment);

// Fills `options` from all layers. Keys in the file are long option names under [serve], [bench];
// only the command's own section is read, but the name of every section is checked. Throws
// UsageError with the layer in front, except for the command line: "config.toml: memory: ...".
void read_layers(OptionSet& options, const std::vector<std::string>& arguments, const Environment& environment,
                 const std::vector<std::string>& sections);

// RETURNS the precedence of an origin (OptionSet::Item); the highest wins between two spellings of
// an option.
[[nodiscard]] int layer_rank(const std::string& origin);

// RETURNS a warning for each TENSORCACHE_ variable that no command, script or example reads,
// because it is probably misspelt.
[[nodiscard]] std::vector<std::string> unknown_variables(const OptionSet& options, const Environment& environment);

}   // namespace tensorcache::options
