// Appends members of JSON objects: for replies that are written by hand.
#pragma once

#include <cstdint>
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

}   // namespace tensorcache::protocol
