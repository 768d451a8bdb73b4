#include "serving/protocol/cache_control.h"

#include <algorithm>
#include <charconv>

namespace tensorcache::protocol {
namespace {

constexpr std::string_view kSpace = " \t";

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool same_name(std::string_view a, std::string_view lower) {
  return std::equal(a.begin(), a.end(), lower.begin(), lower.end(),
                    [](char x, char y) { return (x >= 'A' && x <= 'Z' ? static_cast<char>(x - 'A' + 'a') : x) == y; });
}

// Removes the next directive from `rest`, up to a comma outside of quotes.
std::string_view take_directive(std::string_view& rest) {
  bool quoted = false;
  std::size_t end = 0;
  for (; end < rest.size() && (quoted || rest[end] != ','); ++end) {
    if (rest[end] == '"')
      quoted = !quoted;
    else if (quoted && rest[end] == '\\')
      ++end;
  }
  end = std::min(end, rest.size());
  const std::string_view directive = trim(rest.substr(0, end));
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return directive;
}

std::chrono::seconds parse_seconds(std::string_view text) {
  constexpr std::int64_t kLongest = std::int64_t{1} << 31;   // RFC 9111 1.2.2: larger values are taken as this
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return std::chrono::seconds{0};
  std::int64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc{}) value = kLongest;
  return std::chrono::seconds{std::min(value, kLongest)};
}

}   // namespace

CacheControl parse_cache_control(std::string_view value) {
  CacheControl control;
  while (!value.empty()) {
    const std::string_view directive = take_directive(value);
    const std::size_t equals = directive.find('=');
    const std::string_view name = trim(directive.substr(0, equals));
    if (same_name(name, "no-cache"))
      control.no_cache = true;
    else if (same_name(name, "no-store"))
      control.no_store = true;
    else if (same_name(name, "only-if-cached"))
      control.only_if_cached = true;
    else if (same_name(name, "max-age")) {
      const auto age = parse_seconds(equals == std::string_view::npos ? "" : trim(directive.substr(equals + 1)));
      control.max_age = std::min(age, control.max_age.value_or(age));   // given twice: the stricter one applies
    }
  }
  return control;
}

std::string cache_status_text(const CacheStatus& status) {
  std::string out = "TensorCache; ";
  switch (status.forward) {
    case CacheStatus::Forward::kNone:
      return out + "hit; detail=answer";
    case CacheStatus::Forward::kBypass:
      out += "fwd=bypass";
      break;
    case CacheStatus::Forward::kRequest:
      out += "fwd=request";
      break;
    case CacheStatus::Forward::kMiss:
      out += "fwd=miss";
      break;
  }
  if (status.stored.value_or(false)) out += "; stored";
  if (status.collapsed) out += "; collapsed";
  std::string detail;
  if (status.forward == CacheStatus::Forward::kBypass) {
    detail = status.bypass == CacheStatus::Bypass::kSampled ? "sampled: set temperature=0 or seed" : "answers are off";
  }
  if (status.prefix_tokens > 0) {
    detail += (detail.empty() ? "prefix; tokens=" : "; prefix; tokens=") + std::to_string(status.prefix_tokens);
    detail += status.fidelity == engine::Fidelity::kExactKv ? "; fidelity=exact-kv" : "; fidelity=kv";
  }
  return out + (detail.empty() ? "; detail=miss" : "; detail=\"" + detail + "\"");
}

}   // namespace tensorcache::protocol
