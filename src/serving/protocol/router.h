// Maps the method and path of a request to a route.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "serving/protocol/format.h"

namespace tensorcache::protocol {

enum class Route : std::uint8_t {
  kNone,
  kChat,
  kCompletion,
  kMessages,
  kCountTokens,
  kChatTokens,
  kResponses,
  kNative,
  kTokenize,
  kDetokenize,
  kApplyTemplate,
  kProps,
  kSlots,
  kModels,
  kModel,
  kHealth,
  kMetrics,
  kCache,
  kCacheConfig
};
inline constexpr std::size_t kRouteCount = 19;
[[nodiscard]] std::string_view route_name(Route route);

// The protocol of a route, which its errors are written in too.
[[nodiscard]] Format format_of(Route route);

struct RouteMatch {
  Route route = Route::kNone;
  std::string argument;     // model id, for kModel
  std::string_view query;   // after '?'
  std::string_view allow;   // supported methods, for the Allow header
  bool method_allowed = false;
};

// Matches the request line's method and target.
[[nodiscard]] RouteMatch match_route(std::string_view method, std::string_view target);

// RETURNS all paths, for messages.
[[nodiscard]] std::string_view known_paths();

// RETURNS `text` with %XX decoded.
[[nodiscard]] std::string percent_decoded(std::string_view text);

// RETURNS the first value of `name` in a query, not decoded.
[[nodiscard]] std::optional<std::string_view> query_value(std::string_view query, std::string_view name);

}   // namespace tensorcache::protocol
