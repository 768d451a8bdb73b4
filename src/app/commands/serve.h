// The command `tensorcache serve`.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

// Runs until SIGINT or SIGTERM. Returns the exit code; throws UsageError for wrong options and
// std::runtime_error where it cannot start.
int serve_command(const std::vector<std::string>& arguments);

// What `tensorcache serve --help` prints.
[[nodiscard]] std::string serve_help(std::size_t width);

}   // namespace tensorcache::commands
