#include "serving/protocol/router.h"

#include <charconv>

namespace tensorcache::protocol {
namespace {

struct Resource {
  std::string_view path;
  Route route;
  std::string_view allow;
};

constexpr std::string_view kRead = "GET, HEAD";
constexpr Resource kResources[] = {
    {"/v1/chat/completions", Route::kChat, "POST"},
    {"/chat/completions", Route::kChat, "POST"},
    {"/v1/completions", Route::kCompletion, "POST"},
    {"/v1/messages", Route::kMessages, "POST"},
    {"/v1/messages/count_tokens", Route::kCountTokens, "POST"},
    {"/v1/chat/completions/input_tokens", Route::kChatTokens, "POST"},
    {"/chat/completions/input_tokens", Route::kChatTokens, "POST"},
    {"/v1/responses", Route::kResponses, "POST"},
    {"/responses", Route::kResponses, "POST"},
    {"/completion", Route::kNative, "POST"},
    {"/completions", Route::kNative, "POST"},   // without /v1, as in llama-server
    {"/tokenize", Route::kTokenize, "POST"},
    {"/detokenize", Route::kDetokenize, "POST"},
    {"/apply-template", Route::kApplyTemplate, "POST"},
    {"/props", Route::kProps, kRead},
    {"/slots", Route::kSlots, kRead},
    {"/v1/models", Route::kModels, kRead},
    {"/models", Route::kModels, kRead},
    {"/health", Route::kHealth, kRead},
    {"/metrics", Route::kMetrics, kRead},
    {"/cache", Route::kCache, "GET, HEAD, DELETE"},
    {"/cache/config", Route::kCacheConfig, "GET, HEAD, PUT"},
};

// RETURNS true if the list "A, B" contains `method`.
bool listed(std::string_view list, std::string_view method) {
  while (!list.empty()) {
    const std::size_t comma = list.find(", ");
    if (list.substr(0, comma) == method) return true;
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 2);
  }
  return false;
}

}   // namespace

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() && std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string_view route_name(Route route) {
  constexpr std::string_view kNames[kRouteCount] = {"other",  "chat",     "completion", "messages",       "count_tokens", "chat_tokens", "responses",
                                                    "native", "tokenize", "detokenize", "apply_template", "props",        "slots",       "models",
                                                    "model",  "health",   "metrics",    "cache",          "cache_config"};
  return kNames[static_cast<std::size_t>(route)];
}

Format format_of(Route route) {
  switch (route) {
    case Route::kCompletion:
      return Format::kCompletion;
    case Route::kMessages:
    case Route::kCountTokens:
      return Format::kMessages;
    case Route::kResponses:
      return Format::kResponses;
    case Route::kNative:
      return Format::kNative;
    default:
      return Format::kChat;
  }
}

std::string_view known_paths() {
  return "/v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, /v1/models, /health, /metrics, /cache, /cache/config, and "
         "llama-server's "
         "/completion, /tokenize, /detokenize, /apply-template, /props and /slots";
}

RouteMatch match_route(std::string_view method, std::string_view target) {
  // The absolute form, which clients send to proxies: only its path is used.
  if (target.starts_with("http://")) {
    const std::size_t slash = target.find('/', 7);
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  const std::size_t question = target.find('?');
  std::string_view path = target.substr(0, question);
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  RouteMatch match;
  if (question != std::string_view::npos) match.query = target.substr(question + 1);
  for (const Resource& resource : kResources) {
    if (path == resource.path) {
      match.route = resource.route;
      match.allow = resource.allow;
    } else if (resource.route == Route::kModels && path.size() > resource.path.size() + 1 && path.starts_with(resource.path) &&
               path[resource.path.size()] == '/') {
      match.route = Route::kModel;
      match.allow = kRead;
      match.argument = percent_decoded(path.substr(resource.path.size() + 1));
    }
  }
  match.method_allowed = listed(match.allow, method);
  return match;
}

std::optional<std::string_view> query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    if (pair.substr(0, pair.find('=')) == name) return pair.size() > name.size() ? pair.substr(name.size() + 1) : std::string_view();
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
  }
  return std::nullopt;
}

}   // namespace tensorcache::protocol
