// UTF-8: which bytes are well formed (Unicode 15, table 3-7), and what to do with those that are
// not.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tensorcache {

// RETURNS: the length of the well-formed character at the front of `text`, 1 to 4; 0 if there is
// none.
[[nodiscard]] std::size_t utf8_character_bytes(std::string_view text);

[[nodiscard]] bool is_utf8(std::string_view text);

// RETURNS: `bytes` with each maximal ill-formed piece replaced by one U+FFFD.
[[nodiscard]] std::string to_valid_utf8(std::string_view bytes);

// RETURNS: how many bytes at the end of `bytes` begin a character that is not complete yet: 0 to 3.
[[nodiscard]] std::size_t unfinished_utf8_tail(std::string_view bytes);

// U+FFFD, which stands for what is not UTF-8.
inline constexpr std::string_view kUtf8Replacement = "\xEF\xBF\xBD";

}   // namespace tensorcache
