// The commands `tensorcache inspect`, `verify` and `purge`, which work on a cache directory.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

// Each returns the exit code. Throw UsageError for wrong options, std::runtime_error for a
// directory that cannot be read.
int inspect_command(const std::vector<std::string>& arguments);
int verify_command(const std::vector<std::string>& arguments);   // a failure if anything is damaged
int purge_command(const std::vector<std::string>& arguments);

[[nodiscard]] std::string inspect_help(std::size_t width);
[[nodiscard]] std::string verify_help(std::size_t width);
[[nodiscard]] std::string purge_help(std::size_t width);

}   // namespace tensorcache::commands
