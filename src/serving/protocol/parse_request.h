// Parses and validates the JSON body of a request.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "serving/engine/request.h"
#include "serving/protocol/problem.h"
#include "serving/protocol/request_draft.h"

namespace tensorcache::protocol {

// Every field is understood, provably without influence on the answer, or refused by name (400,
// `param`). Never throws, whatever the bytes.
[[nodiscard]] std::variant<ParsedRequest, Problem> parse_request(engine::Request::Kind kind, std::string_view body, std::int32_t vocab_tokens);

}   // namespace tensorcache::protocol
