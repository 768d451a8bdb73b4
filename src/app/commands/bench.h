// The command `tensorcache bench`.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

// Sends a workload and prints the measurements. RETURNS the exit code: a failure if any request
// failed. Throws UsageError for invalid options, and std::runtime_error if the server cannot be
// reached or a file cannot be read.
int bench_command(const std::vector<std::string>& arguments);

// RETURNS the output of `tensorcache bench --help`.
[[nodiscard]] std::string bench_help(std::size_t width);

}   // namespace tensorcache::commands
