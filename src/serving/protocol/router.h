// Maps the method and path of a request to a route.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tensorcache::protocol {

enum class Route : std::uint8_t { kNone, kChat, kCompletion, kModels, kModel, kHealth, kMetrics, kCache, kCacheConfig };
inline constexpr std::size_t kRouteCount = 9;
[[nodiscard]] std::string_view route_name(Route route);

struct RouteMatch {
  Route route = Route::kNone;
  std::string argument;     // the model's id, for kModel
  std::string_view query;   // what stands behind '?'
  std::string_view allow;   // the methods there are, for Allow
  bool method_allowed = false;
};

// Of the request line's method and target.
[[nodiscard]] RouteMatch match_route(std::string_view method, std::string_view target);

// All of them, for people.
[[nodiscard]] std::string_view known_paths();

// `text` with its %XX as the bytes they stand for.
[[nodiscard]] std::string percent_decoded(std::string_view text);

// The first value of `name` in a query, as it stands there.
[[nodiscard]] std::optional<std::string_view> query_value(std::string_view query, std::string_view name);

}   // namespace tensorcache::protocol
