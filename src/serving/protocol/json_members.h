// Appends members of JSON objects: for replies that are written by hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/json/json_text.h"

namespace tensorcache::protocol {

// Appends `,"name":"text"`.
inline void append_text(std::string& out, std::string_view name, std::string_view text) {
  out += ",\"";
  out += name;
  out += "\":";
  json::append_json_string(out, text);
}

// Appends `,"name":5`.
inline void append_number(std::string& out, std::string_view name, std::int64_t number) {
  out += ",\"";
  out += name;
  out += "\":";
  json::append_json_number(out, number);
}

// Appends the bytes as an array of numbers.
inline void append_bytes(std::string& out, std::string_view bytes) {
  out += '[';
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out += ',';
    json::append_json_number(out, std::int32_t{static_cast<std::uint8_t>(bytes[i])});
  }
  out += ']';
}

// Appends `,"name":["text"]`.
inline void append_texts(std::string& out, std::string_view name, std::span<const std::string> texts) {
  out += ",\"";
  out += name;
  out += "\":[";
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) out += ',';
    json::append_json_string(out, texts[i]);
  }
  out += ']';
}

}   // namespace tensorcache::protocol
