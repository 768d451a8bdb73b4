// The commands `tensorcache simulate` and `tensorcache policies`.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

[[nodiscard]] std::string simulate_help(std::size_t width);
// RETURN an exit code. Throw UsageError, and std::runtime_error for an unreadable trace.
int simulate_command(const std::vector<std::string>& arguments);
int policies_command(const std::vector<std::string>& arguments);

}   // namespace tensorcache::commands
