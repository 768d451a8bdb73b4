// Parses the single fields of a request body; part of parse_request.cc.
#pragma once

#include <boost/json/value.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "serving/protocol/parse_request.h"

namespace tensorcache::protocol {

// What the fields say so far.
struct RequestDraft {
  ParsedRequest parsed;
  std::int32_t vocab_tokens = 0;
  bool has_messages = false, has_prompt = false, has_stream_options = false;
  std::optional<std::int32_t> max_tokens;
  std::optional<std::int32_t> top_logprobs;

  [[nodiscard]] engine::Request& request() const { return *parsed.request; }
  [[nodiscard]] bool chat() const { return parsed.request->kind == engine::Request::Kind::kChat; }
};

// Sets what `name` says. A problem if there is no such field, or not with such a value.
[[nodiscard]] std::optional<Problem> apply_field(RequestDraft& draft, std::string_view name, const boost::json::value& value);

// messages and prompt, in parse_request.cc.
[[nodiscard]] std::optional<Problem> apply_messages(RequestDraft& draft, std::string_view name, const boost::json::value& value);
[[nodiscard]] std::optional<Problem> apply_prompt(RequestDraft& draft, std::string_view name, const boost::json::value& value);

}   // namespace tensorcache::protocol
