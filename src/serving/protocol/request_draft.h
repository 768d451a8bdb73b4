// A request while its fields are parsed, and afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serving/engine/request.h"
#include "serving/protocol/format.h"

namespace tensorcache::protocol {

// What happens to fields that this server does not know.
enum class UnknownFields : std::uint8_t { kIgnore, kRefuse };

// What a request has where it does not say.
struct RequestDefaults {
  engine::Sampling sampling;
  std::int32_t max_tokens = -1;
};

struct ParsedRequest {
  std::shared_ptr<engine::Request> request;   // the tenant is set later
  std::string model;                          // as requested; may be empty
  bool stream = false;
  bool include_usage = false;   // of `stream_options`
  bool no_store = false;        // a hint
  NativeOptions native;
  std::vector<std::pair<std::string, float>> text_biases;   // of `logit_bias`: for all tokens of a text
  std::vector<std::string> ignored_fields;                  // unknown ones, by name; the first few
};

// The fields parsed so far.
struct RequestDraft {
  ParsedRequest parsed;
  Format format = Format::kChat;
  std::int32_t vocab_tokens = 0;
  UnknownFields unknown_fields = UnknownFields::kIgnore;
  bool has_messages = false, has_prompt = false, has_stream_options = false;
  bool continues = false;                       // `continue_final_message`
  std::optional<bool> adds_generation_prompt;   // `add_generation_prompt`
  std::optional<std::int32_t> max_tokens;
  std::optional<std::int32_t> top_logprobs;
  std::string system;        // of a field of its own: becomes the first message
  std::string chosen_tool;   // of `tool_choice`

  [[nodiscard]] engine::Request& request() const { return *parsed.request; }
  [[nodiscard]] bool chat() const { return kind_of(format) == engine::Request::Kind::kChat; }
  // Notes a field that this server does not know. RETURNS false if it must be refused.
  [[nodiscard]] bool ignores(std::string_view name) {
    constexpr std::size_t kMostNames = 16, kMostBytes = 64;
    if (unknown_fields == UnknownFields::kRefuse) return false;
    if (parsed.ignored_fields.size() < kMostNames) parsed.ignored_fields.emplace_back(name.substr(0, kMostBytes));
    return true;
  }
};

}   // namespace tensorcache::protocol
