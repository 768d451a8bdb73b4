// A request while its fields are parsed, and afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "serving/engine/request.h"

namespace tensorcache::protocol {

struct ParsedRequest {
  std::shared_ptr<engine::Request> request;   // the tenant is set later
  std::string model;                          // as requested; may be empty
  bool stream = false;
  bool include_usage = false;   // of `stream_options`
  bool no_store = false;        // a hint
};

// The fields parsed so far.
struct RequestDraft {
  ParsedRequest parsed;
  std::int32_t vocab_tokens = 0;
  bool has_messages = false, has_prompt = false, has_stream_options = false;
  std::optional<std::int32_t> max_tokens;
  std::optional<std::int32_t> top_logprobs;

  [[nodiscard]] engine::Request& request() const { return *parsed.request; }
  [[nodiscard]] bool chat() const { return parsed.request->kind == engine::Request::Kind::kChat; }
};

}   // namespace tensorcache::protocol
