// Appends JSON text to a string; replies have few, known shapes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tensorcache::json {

// Appends `text` quoted and escaped. Each ill-formed UTF-8 byte becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text);
// The same without the quotes, so that the string can be continued.
void append_json_escaped(std::string& out, std::string_view text);

void append_json_number(std::string& out, std::int64_t value);
void append_json_number(std::string& out, std::uint64_t value);
inline void append_json_number(std::string& out, std::int32_t value) { append_json_number(out, std::int64_t{value}); }
// Appends the shortest text that parses to the same float. JSON has no infinity: -inf becomes
// -9999.0, as in OpenAI's API.
void append_json_number(std::string& out, float value);

}   // namespace tensorcache::json
