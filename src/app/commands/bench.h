// The command `tensorcache bench`.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

// Sends a workload and prints what was measured. Returns the exit code: a failure if any request
// failed. Throws UsageError for wrong options and std::runtime_error where the server or a file
// cannot be reached.
int bench_command(const std::vector<std::string>& arguments);

// What `tensorcache bench --help` prints.
[[nodiscard]] std::string bench_help(std::size_t width);

}   // namespace tensorcache::commands
