// The commands `tensorcache simulate` and `tensorcache policies`.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

[[nodiscard]] std::string simulate_help(std::size_t width);
// Returns an exit code; throws UsageError, and std::runtime_error for a trace that cannot be read.
int simulate_command(const std::vector<std::string>& arguments);
int policies_command(const std::vector<std::string>& arguments);

}   // namespace tensorcache::commands
