// Parses and validates the JSON body of a request.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "serving/protocol/format.h"
#include "serving/protocol/problem.h"
#include "serving/protocol/request_draft.h"

namespace tensorcache::protocol {

// Every known field is applied, ignored because it cannot affect the response, or rejected by name
// (400, `param`). Throws for no input.
[[nodiscard]] std::variant<ParsedRequest, Problem> parse_request(Format format, std::string_view body, std::int32_t vocab_tokens,
                                                                 UnknownFields unknown_fields = UnknownFields::kIgnore,
                                                                 const RequestDefaults& defaults = {});

}   // namespace tensorcache::protocol
