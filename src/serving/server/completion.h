// POST /v1/chat/completions, /v1/completions, /v1/messages, /v1/responses and /completion: served from the response cache, a running flight,
// or the engine.
#pragma once

#include "serving/server/exchange.h"

namespace tensorcache::server {

// Each handler sends its reply and returns true if the connection may serve another request. A
// client that leaves unsubscribes from the computation.
[[nodiscard]] Task<bool> answer_chat(Exchange& exchange);
[[nodiscard]] Task<bool> answer_completion(Exchange& exchange);
[[nodiscard]] Task<bool> answer_native(Exchange& exchange);
[[nodiscard]] Task<bool> answer_messages(Exchange& exchange);
[[nodiscard]] Task<bool> answer_responses(Exchange& exchange);

}   // namespace tensorcache::server
