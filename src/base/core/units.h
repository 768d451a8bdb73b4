// Parses and formats sizes and durations: "8GiB", "1h30m".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/core/result.h"

namespace tensorcache {

// A value, or the error in one sentence without the option's name.
template <typename Value>
using Parsed = Result<Value, std::string>;

// Parses bytes: a whole number, or a fraction with a unit, in any case. KiB, MiB, GiB and TiB (or
// Ki, Mi, ...) are powers of 1024; kB, MB, GB and TB powers of 1000; B or none is bytes. A lone K,
// M, G or T is rejected, because it is ambiguous.
[[nodiscard]] Parsed<std::uint64_t> parse_size(std::string_view text);

// Parses a duration: numbers with d, h, m, s or ms, largest unit first ("1h30m", "250ms", "1.5s");
// a number alone is seconds.
[[nodiscard]] Parsed<std::chrono::milliseconds> parse_duration(std::string_view text);

// Formats for reading: three significant digits, binary units ("1.5GiB", "22.5KiB", "0B").
[[nodiscard]] std::string format_size(std::uint64_t bytes);

// Lossless: parse_size(exact_size(n)) is n ("8GiB", "100MB", "1025B").
[[nodiscard]] std::string exact_size(std::uint64_t bytes);

// Lossless: parse_duration(format_duration(d)) is d, for d >= 0 ("1h30m", "1m500ms", "0s").
[[nodiscard]] std::string format_duration(std::chrono::milliseconds duration);

}   // namespace tensorcache
