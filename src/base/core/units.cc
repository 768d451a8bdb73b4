#include "base/core/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

namespace tensorcache {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::uint64_t kKiB = 1024, kKB = 1000;
constexpr std::array<Unit, 14> kSizeUnits{{{"", 1},
                                           {"b", 1},
                                           {"kib", kKiB},
                                           {"mib", kKiB* kKiB},
                                           {"gib", kKiB* kKiB* kKiB},
                                           {"tib", kKiB* kKiB* kKiB* kKiB},
                                           {"ki", kKiB},
                                           {"mi", kKiB* kKiB},
                                           {"gi", kKiB* kKiB* kKiB},
                                           {"ti", kKiB* kKiB* kKiB* kKiB},
                                           {"kb", kKB},
                                           {"mb", kKB* kKB},
                                           {"gb", kKB* kKB* kKB},
                                           {"tb", kKB* kKB* kKB* kKB}}};
// Largest first, the order in which they are written.
constexpr std::array<Unit, 5> kTimeUnits{{{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

// Consumes a number (digits with at most one point) from the front of `text`.
std::string_view take_number(std::string_view& text) {
  std::size_t length = 0;
  bool point = false;
  while (length < text.size() && (std::isdigit(static_cast<unsigned char>(text[length])) || (text[length] == '.' && !point))) {
    point = point || text[length] == '.';
    ++length;
  }
  const std::string_view number = text.substr(0, length);
  text.remove_prefix(length);
  return number;
}

std::string_view take_letters(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && std::isalpha(static_cast<unsigned char>(text[length]))) ++length;
  const std::string_view letters = text.substr(0, length);
  text.remove_prefix(length);
  return letters;
}

// RETURNS number * factor; nothing if `number` is not a number, or the product does not fit into 63
// bits or is not whole. Whole numbers are converted exactly.
std::optional<std::uint64_t> scaled(std::string_view number, std::uint64_t factor) {
  constexpr std::uint64_t kMax = std::uint64_t{1} << 63;
  std::uint64_t whole = 0;
  const char* end = number.data() + number.size();
  auto [rest, error] = std::from_chars(number.data(), end, whole);
  if (error != std::errc() || whole >= kMax / factor) return std::nullopt;
  if (rest == end) return whole * factor;
  double fraction = 0;
  auto [rest2, error2] = std::from_chars(number.data(), end, fraction);
  if (error2 != std::errc() || rest2 != end) return std::nullopt;
  return static_cast<std::uint64_t>(std::llround(fraction * static_cast<double>(factor)));
}

}   // namespace

Parsed<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::string_view kHelp = "; write a size as 8GiB, 512MiB, 100MB or plain bytes";
  std::string_view rest = trim(text);
  const std::string_view number = take_number(rest);
  const std::string unit = lower(trim(rest));
  if (number.empty()) return Failure(quoted(text) + " is not a size" + std::string(kHelp));
  if (unit == "k" || unit == "m" || unit == "g" || unit == "t") {
    const char letter = static_cast<char>(std::toupper(static_cast<unsigned char>(unit[0])));
    const std::string wanted(1, letter);
    return Failure(quoted(text) + " is ambiguous; write " + std::string(number) + wanted + "iB (1024) or " + std::string(number) +
                   (letter == 'K' ? "k" : wanted) + "B (1000)");
  }
  for (const Unit& known : kSizeUnits) {
    if (unit != known.name) continue;
    if (known.factor == 1 && number.find('.') != std::string_view::npos) break;
    if (auto bytes = scaled(number, known.factor)) return *bytes;
    return Failure(quoted(text) + " is too large");
  }
  return Failure(quoted(text) + " is not a size" + std::string(kHelp));
}

Parsed<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const std::string help = quoted(text) + " is not a duration; write it as 10m, 250ms, 1h30m, or plain seconds";
  std::string_view rest = trim(text);
  if (rest.empty()) return Failure(help);
  std::uint64_t total_ms = 0;
  std::size_t next_unit = 0;
  for (bool first = true; !rest.empty(); first = false) {
    const std::string_view number = take_number(rest);
    const std::string unit = lower(take_letters(rest));
    if (number.empty()) return Failure(help);
    std::uint64_t factor = 0;
    if (unit.empty() && first && rest.empty()) {
      factor = 1000;
    } else {
      while (next_unit < kTimeUnits.size() && kTimeUnits[next_unit].name != unit) ++next_unit;
      if (next_unit == kTimeUnits.size()) return Failure(help);
      factor = kTimeUnits[next_unit++].factor;
    }
    const auto part_ms = scaled(number, factor);
    // Small enough that adding it to now() does not overflow the clock's nanoseconds.
    constexpr std::uint64_t kLongest_ms = std::uint64_t{36'500} * 86'400'000;
    if (!part_ms) return Failure(help);
    if (*part_ms > kLongest_ms || (total_ms += *part_ms) > kLongest_ms) return Failure(quoted(text) + " is longer than a hundred years");
  }
  return std::chrono::milliseconds(total_ms);
}

std::string format_size(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kNames{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.5 would be rounded up to 1024 of the smaller unit.
  while (value >= 1023.5 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  if (unit == 0) decimals = 0;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  std::string out = text;
  if (out.find('.') != std::string::npos) {
    out.erase(out.find_last_not_of('0') + 1);
    if (out.back() == '.') out.pop_back();
  }
  return out + kNames[unit];
}

std::string exact_size(std::uint64_t bytes) {
  constexpr std::array<Unit, 8> kExact{{{"TiB", kKiB * kKiB * kKiB * kKiB},
                                        {"TB", kKB * kKB * kKB * kKB},
                                        {"GiB", kKiB * kKiB * kKiB},
                                        {"GB", kKB * kKB * kKB},
                                        {"MiB", kKiB * kKiB},
                                        {"MB", kKB * kKB},
                                        {"KiB", kKiB},
                                        {"kB", kKB}}};
  for (const Unit& unit : kExact) {
    if (bytes != 0 && bytes % unit.factor == 0) return std::to_string(bytes / unit.factor) + std::string(unit.name);
  }
  return std::to_string(bytes) + "B";
}

std::string format_duration(std::chrono::milliseconds duration) {
  std::uint64_t left = duration.count() > 0 ? static_cast<std::uint64_t>(duration.count()) : 0;
  if (left == 0) return "0s";
  std::string out;
  for (const Unit& unit : kTimeUnits) {
    if (left < unit.factor) continue;
    out += std::to_string(left / unit.factor) + std::string(unit.name);
    left %= unit.factor;
  }
  return out;
}

}   // namespace tensorcache
