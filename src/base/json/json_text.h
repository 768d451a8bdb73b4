// Appends JSON text to a string; replies have few, known shapes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tensorcache::json {

// Appends `text` quoted and escaped. What is not UTF-8 becomes U+FFFD, one for each bad byte.
void append_json_string(std::string& out, std::string_view text);
// The same without the quotes, to go on with later.
void append_json_escaped(std::string& out, std::string_view text);

void append_json_number(std::string& out, std::int64_t value);
void append_json_number(std::string& out, std::uint64_t value);
inline void append_json_number(std::string& out, std::int32_t value) { append_json_number(out, std::int64_t{value}); }
// Shortest text that reads back as the same float. JSON has no infinity: -inf becomes -9999.0, as
// OpenAI writes it.
void append_json_number(std::string& out, float value);

}   // namespace tensorcache::json
