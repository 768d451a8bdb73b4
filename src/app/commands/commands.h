// Shared by the commands: exit codes and config sections.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;   // a failure at run time
inline constexpr int kExitUsage = 2;     // invalid command line, environment variable or config file

// RETURNS the valid sections of a config file.
[[nodiscard]] inline const std::vector<std::string>& config_sections() {
  static const std::vector<std::string> sections{"serve", "bench"};
  return sections;
}

}   // namespace tensorcache::commands
