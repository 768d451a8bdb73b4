#include "app/options/config_layers.h"

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "app/options/suggest.h"

namespace tensorcache::options {
namespace {

constexpr std::string_view kConfigOption = "config";
constexpr const char *kCommandLine = "command line", *kVariableOrigin = "environment variable ";

std::string under_home(const Environment& environment, const std::string& xdg_variable, const std::string& under_home_folder) {
  if (const auto folder = environment.variable(xdg_variable)) return *folder + "/tensorcache";
  if (const auto home = environment.variable("HOME")) return *home + "/" + under_home_folder + "/tensorcache";
  return {};
}

// Appends an item as arguments of a layer: "--name=value", or two arguments for an empty value.
void append(std::vector<std::string>& arguments, const OptionSet::Item& item, const std::string& value) {
  if (value.empty()) {
    arguments.push_back("--" + item.name);
    arguments.push_back(value);
  } else {
    arguments.push_back("--" + item.name + "=" + value);
  }
}

// parse() names options with dashes; in files and environment variables they are written without.
std::string without_dashes(const std::string& message) { return message.starts_with("--") ? message.substr(2) : message; }

void read_environment(OptionSet& options, const Environment& environment) {
  for (const auto& item : options.items()) {
    if (item->command_line_only) continue;
    const std::string name = variable_name(options, item->name);
    const auto value = environment.variable(name);
    if (!value) continue;
    std::vector<std::string> arguments;
    if (item->shape == OptionSet::Shape::kList) {
      std::istringstream parts(*value);
      for (std::string part; std::getline(parts, part, ',');) {
        if (!part.empty()) append(arguments, *item, part);
      }
    } else {
      append(arguments, *item, *value);
    }
    try {
      options.parse(arguments, kVariableOrigin + name);
    } catch (const UsageError& error) {
      const std::string message = error.what();
      const std::string own_name = "--" + item->name + ": ";
      throw UsageError("environment variable " + name + ": " + (message.starts_with(own_name) ? message.substr(own_name.size()) : message));
    }
  }
}

// RETURNS a TOML scalar as written on the command line. Throws UsageError.
std::string scalar_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* real = node.as_floating_point()) {
    std::ostringstream out;
    out.precision(17);
    out << real->get();
    return out.str();
  }
  throw UsageError("must be a string, a number, true or false, not a " + [&] {
    std::ostringstream kind;
    kind << node.type();
    return kind.str();
  }());
}

std::vector<std::string> file_arguments(const OptionSet::Item& item, const toml::node& node) {
  std::vector<std::string> arguments;
  const toml::array* array = node.as_array();
  if (array == nullptr) {
    append(arguments, item, scalar_text(node));
    return arguments;
  }
  if (item.shape != OptionSet::Shape::kList) throw UsageError("takes one value, not a list");
  for (const toml::node& element : *array) append(arguments, item, scalar_text(element));
  return arguments;
}

void read_section(OptionSet& options, const toml::table& section, const std::string& path) {
  for (const auto& [key, node] : section) {
    const std::string name(key.str());
    const std::string place = path + ":" + std::to_string(node.source().begin.line) + ": " + name + ": ";
    const OptionSet::Item* item = options.find(name);
    if (item == nullptr) {
      std::vector<std::string> names;
      for (const auto& each : options.items()) {
        if (!each->command_line_only) names.push_back(each->name);
      }
      throw UsageError(place + "unknown option" + did_you_mean(name, names));
    }
    if (item->command_line_only) throw UsageError(place + "is only allowed on the command line");
    std::vector<std::string> arguments;
    try {
      arguments = file_arguments(*item, node);
      if (!arguments.empty()) options.parse(arguments, path);
    } catch (const UsageError& error) {
      const std::string message = without_dashes(error.what());
      throw UsageError(place + (message.starts_with(name + ": ") ? message.substr(name.size() + 2) : message));
    }
  }
}

void read_file(OptionSet& options, const std::string& path, const std::vector<std::string>& sections) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || std::filesystem::is_directory(path)) throw UsageError(path + ": cannot be read");
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();   // copying zero bytes would set the fail bit
  toml::table root;
  try {
    root = toml::parse(text.str(), path);
  } catch (const toml::parse_error& error) {
    const std::string description(error.description());
    const bool bare_value = description.find("while parsing decimal integer") != std::string::npos;
    throw UsageError(path + ":" + std::to_string(error.source().begin.line) + ": " + description +
                     (bare_value ? "; sizes, times and other text need quotes: memory = \"1GiB\"" : ""));
  }
  for (const auto& [key, node] : root) {
    const std::string name(key.str());
    const std::string place = path + ":" + std::to_string(node.source().begin.line) + ": ";
    if (std::find(sections.begin(), sections.end(), name) == sections.end()) {
      if (!node.is_table()) throw UsageError(place + name + ": options belong in a section: add [" + options.command() + "] above it");
      throw UsageError(place + "[" + name + "]: unknown section" + did_you_mean(name, sections));
    }
    if (!node.is_table()) throw UsageError(place + name + ": must be a section");
    if (name == options.command()) read_section(options, *node.as_table(), path);
  }
}

// RETURNS the last --config of the command line, before parsing.
std::optional<std::string> config_argument(const std::vector<std::string>& arguments) {
  const std::string option = "--" + std::string(kConfigOption);
  std::optional<std::string> path;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].starts_with(option + "=")) path = arguments[i].substr(option.size() + 1);
    if (arguments[i] == option && i + 1 < arguments.size()) path = arguments[i + 1];
  }
  return path;
}

}   // namespace

Environment Environment::of_this_process() {
  return {[](const std::string& name) -> std::optional<std::string> {
            const char* value = std::getenv(name.c_str());
            if (value == nullptr || *value == '\0') return std::nullopt;
            return value;
          },
          [] {
            std::vector<std::string> names;
            for (char** entry = environ; *entry != nullptr; ++entry)
              names.emplace_back(std::string_view(*entry).substr(0, std::string_view(*entry).find('=')));
            return names;
          }};
}

std::string variable_name(const OptionSet& options, const std::string& option) {
  std::string name = options.command() == "serve" ? option : options.command() + "-" + option;
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return "TENSORCACHE_" + name;
}

std::string default_config_path(const Environment& environment) {
  const std::string folder = under_home(environment, "XDG_CONFIG_HOME", ".config");
  return folder.empty() ? "" : folder + "/config.toml";
}

std::string cache_folder(const Environment& environment) { return under_home(environment, "XDG_CACHE_HOME", ".cache"); }

std::string config_path(const std::vector<std::string>& arguments, const Environment& environment) {
  if (const auto path = config_argument(arguments)) return *path;
  if (const auto path = environment.variable("TENSORCACHE_CONFIG")) return *path;
  const std::string usual = default_config_path(environment);
  return !usual.empty() && std::filesystem::exists(usual) ? usual : "";
}

void read_layers(OptionSet& options, const std::vector<std::string>& arguments, const Environment& environment,
                 const std::vector<std::string>& sections) {
  if (const std::string path = config_path(arguments, environment); !path.empty()) read_file(options, path, sections);
  read_environment(options, environment);
  options.parse(arguments, kCommandLine);
}

int layer_rank(const std::string& origin) { return origin == kCommandLine ? 2 : origin.starts_with(kVariableOrigin) ? 1 : 0; }

std::vector<std::string> unknown_variables(const OptionSet& options, const Environment& environment) {
  constexpr std::array<std::string_view, 4> kOthers{"TENSORCACHE_BIN", "TENSORCACHE_DEPS", "TENSORCACHE_NO_INSTALL", "TENSORCACHE_INTEROP"};
  constexpr std::array<std::string_view, 2> kOtherPrefixes{"TENSORCACHE_BENCH_", "TENSORCACHE_TEST_"};
  std::vector<std::string> known{"TENSORCACHE_CONFIG"}, warnings;
  for (const auto& item : options.items()) {
    if (!item->command_line_only) known.push_back(variable_name(options, item->name));
  }
  for (const std::string& name : environment.variable_names()) {
    const auto begins = [&](std::string_view prefix) { return name.starts_with(prefix); };
    if (!begins("TENSORCACHE_") || std::find(known.begin(), known.end(), name) != known.end()) continue;
    if (std::find(kOthers.begin(), kOthers.end(), name) != kOthers.end() || std::any_of(kOtherPrefixes.begin(), kOtherPrefixes.end(), begins))
      continue;
    warnings.push_back("environment variable " + name + " is not known and has no effect" + did_you_mean(name, known));
  }
  return warnings;
}

}   // namespace tensorcache::options
