// UTF-8: finds well-formed characters (Unicode 15, table 3-7) and replaces ill-formed bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tensorcache {

// RETURNS: the length (1 to 4) of the well-formed character at the front of `text`; 0 if there is
// none.
[[nodiscard]] std::size_t utf8_character_bytes(std::string_view text);

[[nodiscard]] bool is_utf8(std::string_view text);

// RETURNS: `bytes` with each maximal ill-formed sequence replaced by one U+FFFD.
[[nodiscard]] std::string to_valid_utf8(std::string_view bytes);

// RETURNS: the number of bytes (0 to 3) of an incomplete character at the end of `bytes`.
[[nodiscard]] std::size_t unfinished_utf8_tail(std::string_view bytes);

// U+FFFD, the replacement for ill-formed bytes.
inline constexpr std::string_view kUtf8Replacement = "\xEF\xBF\xBD";

}   // namespace tensorcache
