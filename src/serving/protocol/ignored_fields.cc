#include "serving/protocol/ignored_fields.h"

namespace tensorcache::protocol {

std::string ignored_fields_line(std::span<const std::string> names) {
  std::string line;
  for (const std::string& name : names) {
    line += line.empty() ? "TensorCache-Ignored-Fields: " : ", ";
    for (const char c : name) line += c > ' ' && c < 0x7f && c != ',' ? c : '?';
  }
  return line.empty() ? line : line + "\r\n";
}

}   // namespace tensorcache::protocol
