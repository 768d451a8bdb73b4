#include "base/core/utf8.h"

#include <algorithm>

namespace tensorcache {
namespace {

// The character at the front of a text. `need`: the length that its first byte announces (0: not a
// first byte); `good`: number of leading bytes that are valid for it (at least 1). The character is
// well-formed if both are equal.
struct Front {
  std::size_t need = 0, good = 1;
  [[nodiscard]] bool is_character() const { return need == good; }
};

Front front_of(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  Front front;
  if (first < 0x80) {
    front.need = 1;
  } else if (first >= 0xC2 && first <= 0xDF) {
    front.need = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    front.need = 3;
  } else if (first >= 0xF0 && first <= 0xF4) {
    front.need = 4;
  }
  // The range of the second byte excludes overlong forms, surrogates and code points above
  // U+10FFFF.
  unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  while (front.good < front.need && front.good < text.size() && at(front.good) >= low && at(front.good) <= high) {
    ++front.good;
    low = 0x80;
    high = 0xBF;
  }
  return front;
}

}   // namespace

std::size_t utf8_character_bytes(std::string_view text) {
  if (text.empty()) return 0;
  const Front front = front_of(text);
  return front.is_character() ? front.need : 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = utf8_character_bytes(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Front front = front_of(bytes);
    text += front.is_character() ? bytes.substr(0, front.need) : kUtf8Replacement;
    bytes.remove_prefix(front.good);
  }
  return text;
}

std::size_t unfinished_utf8_tail(std::string_view bytes) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, bytes.size()); ++n) {
    const std::string_view tail = bytes.substr(bytes.size() - n);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0) == 0x80) continue;   // inside a character
    const Front front = front_of(tail);
    return front.need > n && front.good == n ? n : 0;
  }
  return 0;
}

}   // namespace tensorcache
