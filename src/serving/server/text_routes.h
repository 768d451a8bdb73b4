// Routes that show how the model reads texts. Nothing is computed or stored.
#pragma once

#include "serving/server/exchange.h"

namespace tensorcache::server {

// Each handler sends its reply and returns true if the connection may serve another request.

// POST /v1/messages/count_tokens: the length of a prompt.
[[nodiscard]] Task<bool> count_tokens(Exchange& exchange);
// POST /v1/chat/completions/input_tokens: the same of a chat.
[[nodiscard]] Task<bool> count_chat_tokens(Exchange& exchange);
// POST /apply-template: the prompt of a chat as text.
[[nodiscard]] Task<bool> apply_template(Exchange& exchange);
// POST /tokenize and /detokenize: the tokens of a text, and the text of tokens.
[[nodiscard]] Task<bool> tokenize(Exchange& exchange);
[[nodiscard]] Task<bool> detokenize(Exchange& exchange);

}   // namespace tensorcache::server
