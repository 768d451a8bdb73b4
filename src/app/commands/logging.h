// The log of the process on standard error, as text lines or JSON objects.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tensorcache::commands {

[[nodiscard]] const std::vector<std::string>& log_levels();   // "trace" ... "off"

// Makes spdlog's default logger one that writes to standard error. `level` is one of log_levels(),
// `format` "text" or "json".
void start_logging(const std::string& level, const std::string& format);

// How a message begins that is a JSON object: with "json" its members become the line's.
inline constexpr std::string_view kJsonMembers = "\x01";

// Of the logger that start_logging() made.
void set_log_level(const std::string& level);

}   // namespace tensorcache::commands
