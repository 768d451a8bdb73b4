#include "serving/server/routes.h"

#include <algorithm>
#include <iterator>

#include "serving/server/cache_routes.h"
#include "serving/server/completion.h"
#include "serving/server/status_routes.h"
#include "serving/server/text_routes.h"

namespace tensorcache::server {
namespace {

using protocol::Route;

constexpr bool kOpen = true, kKeyed = false;
constexpr bool kBody = true, kNoBody = false;

constexpr Handler kHandlers[] = {
    {Route::kChat, "POST", kKeyed, kBody, answer_chat},
    {Route::kCompletion, "POST", kKeyed, kBody, answer_completion},
    {Route::kMessages, "POST", kKeyed, kBody, answer_messages},
    {Route::kCountTokens, "POST", kKeyed, kBody, count_tokens},
    {Route::kResponses, "POST", kKeyed, kBody, answer_responses},
    {Route::kModels, "GET", kKeyed, kNoBody, list_models},
    {Route::kModel, "GET", kKeyed, kNoBody, show_model},
    {Route::kHealth, "GET", kOpen, kNoBody, show_health},
    {Route::kMetrics, "GET", kKeyed, kNoBody, show_metrics},
    {Route::kCache, "GET", kKeyed, kBody, show_cache},
    {Route::kCache, "DELETE", kKeyed, kBody, clear_cache},
    {Route::kCacheConfig, "GET", kKeyed, kNoBody, show_config},
    {Route::kCacheConfig, "PUT", kKeyed, kBody, change_config},
    {Route::kNative, "POST", kKeyed, kBody, answer_native},
    {Route::kChatTokens, "POST", kKeyed, kBody, count_chat_tokens},
    {Route::kTokenize, "POST", kKeyed, kBody, tokenize},
    {Route::kDetokenize, "POST", kKeyed, kBody, detokenize},
    {Route::kApplyTemplate, "POST", kKeyed, kBody, apply_template},
    {Route::kProps, "GET", kKeyed, kNoBody, show_props},
    {Route::kSlots, "GET", kKeyed, kNoBody, show_slots},
};

}   // namespace

std::span<const Handler> handlers() { return kHandlers; }

const Handler* find_handler(Route route, std::string_view method) {
  if (method == "HEAD") method = "GET";
  const auto* const found =
      std::find_if(std::begin(kHandlers), std::end(kHandlers), [&](const Handler& each) { return each.route == route && each.method == method; });
  return found == std::end(kHandlers) ? nullptr : found;
}

}   // namespace tensorcache::server
