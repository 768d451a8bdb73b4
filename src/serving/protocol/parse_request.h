// Parses and validates the JSON body of a request.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "serving/engine/request.h"
#include "serving/protocol/problem.h"

namespace tensorcache::protocol {

struct ParsedRequest {
  std::shared_ptr<engine::Request> request;   // without its tenant
  std::string model;                          // as asked for; may be empty
  bool stream = false;
  bool include_usage = false;   // of stream_options
  bool no_store = false;        // of the hints
};

// Every field is understood, provably without influence on the answer, or refused by name (400,
// `param`). Never throws, whatever the bytes.
[[nodiscard]] std::variant<ParsedRequest, Problem> parse_request(engine::Request::Kind kind, std::string_view body, std::int32_t vocab_tokens);

}   // namespace tensorcache::protocol
