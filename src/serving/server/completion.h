// POST /v1/chat/completions, /v1/completions, /v1/messages and /v1/responses: served from the response cache, a running flight,
// or the engine.
#pragma once

#include "serving/server/exchange.h"

namespace tensorcache::server {

// Each handler sends its reply and returns true if the connection may serve another request. A
// client that leaves unsubscribes from the computation.
[[nodiscard]] Task<bool> answer_chat(Exchange& exchange);
[[nodiscard]] Task<bool> answer_completion(Exchange& exchange);
[[nodiscard]] Task<bool> answer_messages(Exchange& exchange);
[[nodiscard]] Task<bool> answer_responses(Exchange& exchange);

// POST /v1/messages/count_tokens: the length of a prompt; nothing is computed or stored.
[[nodiscard]] Task<bool> count_tokens(Exchange& exchange);

}   // namespace tensorcache::server
