// The command `tensorcache serve`.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

// Runs until SIGINT or SIGTERM. RETURNS the exit code. Throws UsageError for invalid options, and
// std::runtime_error if it cannot start.
int serve_command(const std::vector<std::string>& arguments);

// RETURNS the output of `tensorcache serve --help`.
[[nodiscard]] std::string serve_help(std::size_t width);

}   // namespace tensorcache::commands
