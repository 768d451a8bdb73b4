// The commands `tensorcache inspect`, `verify` and `purge` for a cache directory.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::commands {

// RETURN the exit code. Throw UsageError for invalid options, and std::runtime_error for an
// unreadable directory.
int inspect_command(const std::vector<std::string>& arguments);
int verify_command(const std::vector<std::string>& arguments);   // fails if anything is damaged
int purge_command(const std::vector<std::string>& arguments);

[[nodiscard]] std::string inspect_help(std::size_t width);
[[nodiscard]] std::string verify_help(std::size_t width);
[[nodiscard]] std::string purge_help(std::size_t width);

}   // namespace tensorcache::commands
