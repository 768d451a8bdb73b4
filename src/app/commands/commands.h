// Shared by the commands: exit codes and config sections.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;   // something went wrong at run time
inline constexpr int kExitUsage = 2;     // the command line, a variable or the configuration file is wrong

// The sections a configuration file may have.
[[nodiscard]] inline const std::vector<std::string>& config_sections() {
  static const std::vector<std::string> sections{"serve", "bench"};
  return sections;
}

}   // namespace tensorcache::commands
