// A request to a model in native types, independent of JSON and HTTP.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tensorcache/hints.h"

namespace tensorcache::engine {

struct Message {
  std::string role;      // "system", "developer", "user" or "assistant"
  std::string content;   // text parts joined by "\n"
  std::string name;      // may be empty

  friend bool operator==(const Message&, const Message&) = default;
};

// Defaults are llama-server's.
struct Sampling {
  float temperature = 0.8f;   // 0 is greedy
  float top_p = 0.95f;
  float min_p = 0.05f;
  std::int32_t top_k = 40;             // 0 is all
  std::optional<std::uint32_t> seed;   // none: a new one for each request
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  float repeat_penalty = 1.0f;
  std::vector<std::pair<std::int32_t, float>> logit_bias;   // by token id, ascending; at most one each

  [[nodiscard]] bool greedy() const { return temperature <= 0.0f; }
  // Whether the same request gives the same answer again.
  [[nodiscard]] bool repeatable() const { return greedy() || seed.has_value(); }
};

struct Request {
  enum class Kind : std::uint8_t { kChat = 0, kCompletion = 1 };

  Kind kind = Kind::kChat;
  std::string tenant;              // from the server's side (API key), never from the client
  std::vector<Message> messages;   // kChat
  std::string prompt;              // kCompletion, unless prompt_tokens is used
  std::vector<std::int32_t> prompt_tokens;
  Sampling sampling;
  std::int32_t max_tokens = -1;   // -1: until the model stops or the context is full
  std::vector<std::string> stop;
  bool logprobs = false;
  std::int32_t top_logprobs = 0;    // alternatives for each token, 0..20; needs logprobs
  bool use_prefix_cache = true;     // false for `Cache-Control: no-cache`: compute all of it
  bool store_prefix = true;         // false for `Cache-Control: no-store`: keep nothing of it
  bool ends_conversation = false;   // a hint: no other turn will follow
  Hints hints;                      // for what is stored of it and its answer
};

}   // namespace tensorcache::engine
