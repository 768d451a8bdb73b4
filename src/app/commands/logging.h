// The process's log on standard error, as text lines or JSON objects.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tensorcache::commands {

[[nodiscard]] const std::vector<std::string>& log_levels();   // "trace" ... "off"

// Makes spdlog's default logger write to standard error. `level`: one of log_levels(); `format`:
// "text" or "json".
void start_logging(const std::string& level, const std::string& format);

// Prefix of a message that is a JSON object: with "json" its members become members of the line.
inline constexpr std::string_view kJsonMembers = "\x01";

// Sets the level of the logger that start_logging() made.
void set_log_level(const std::string& level);

}   // namespace tensorcache::commands
