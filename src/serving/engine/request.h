// A request to a model in native types, independent of JSON and HTTP.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tensorcache/hints.h"

namespace tensorcache::engine {

// A call of a tool that the model made.
struct ToolCall {
  std::string id, name;
  std::string arguments;   // a JSON object as text

  friend bool operator==(const ToolCall&, const ToolCall&) = default;
};

struct Message {
  std::string role;                     // "system", "developer", "user", "assistant" or "tool"
  std::string content;                  // text parts joined by "\n"
  std::string name{};                   // may be empty
  std::string reasoning{};              // of an assistant's turn, apart from its content
  std::vector<ToolCall> tool_calls{};   // of an assistant's turn
  std::string tool_call_id{};           // the call that a message of role "tool" is the result of

  friend bool operator==(const Message&, const Message&) = default;
};

// A function that the model may call.
struct Tool {
  std::string name, description;
  std::string parameters;   // JSON schema as text

  friend bool operator==(const Tool&, const Tool&) = default;
};

enum class ToolChoice : std::uint8_t { kAuto = 0, kNone = 1, kRequired = 2 };

// What a chat's template and the grammar of its answer depend on, besides the messages.
struct ChatOptions {
  std::vector<Tool> tools;
  ToolChoice tool_choice = ToolChoice::kAuto;
  std::optional<bool> parallel_tool_calls;              // none: where the template has them
  std::map<std::string, std::string> template_kwargs;   // variables of the template, as JSON text
  bool thinking = true;                                 // for templates that can switch it off
  bool separate_reasoning = true;                       // reasoning apart from the content

  friend bool operator==(const ChatOptions&, const ChatOptions&) = default;
};

// Smaller temperatures select the likeliest token, as 0 does; dividing by them would overflow.
inline constexpr float kMinTemperature = 1e-5F;

// Defaults are llama-server's, whose documentation says what each means.
struct Sampling {
  float temperature = 0.8f;   // 0 is greedy
  float top_p = 0.95f;
  float min_p = 0.05f;
  std::int32_t top_k = 40;             // 0 is all
  std::optional<std::uint32_t> seed;   // none: a new one for each request
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  float repeat_penalty = 1.0f;
  std::int32_t repeat_last_n = 64;                          // tokens that the three penalties look at
  std::vector<std::pair<std::int32_t, float>> logit_bias;   // by token id, ascending; at most one each; -infinity: never
  float typical_p = 1.0f;
  float top_n_sigma = -1.0f;
  float xtc_probability = 0.0f, xtc_threshold = 0.1f;
  float dynatemp_range = 0.0f, dynatemp_exponent = 1.0f;
  float dry_multiplier = 0.0f, dry_base = 1.75f;
  std::int32_t dry_allowed_length = 2, dry_penalty_last_n = 64;
  std::vector<std::string> dry_sequence_breakers = {"\n", ":", "\"", "*"};
  std::int32_t mirostat = 0;   // 1 and 2: the two versions
  float mirostat_tau = 5.0f, mirostat_eta = 0.1f;
  std::int32_t min_keep = 0;
  bool ignore_eos = false;             // the model cannot end its answer
  std::vector<std::string> samplers;   // llama.cpp's names, in order; empty: its default order

  [[nodiscard]] bool greedy() const { return temperature <= 0.0f; }
  // Whether the same request gives the same answer again.
  [[nodiscard]] bool repeatable() const { return greedy() || seed.has_value(); }

  friend bool operator==(const Sampling&, const Sampling&) = default;
};

struct Request {
  enum class Kind : std::uint8_t { kChat = 0, kCompletion = 1 };

  Kind kind = Kind::kChat;
  std::string tenant;              // from the server's side (API key), never from the client
  std::vector<Message> messages;   // kChat
  std::string prompt;              // kCompletion, unless prompt_tokens is used
  std::vector<std::int32_t> prompt_tokens;
  ChatOptions chat;          // kChat
  std::string json_schema;   // what the answer must be, as JSON text; empty: anything
  std::string grammar;       // the same as GBNF
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

// How a text is turned into tokens.
struct TokenizeOptions {
  bool add_special = false;    // the tokens that the model wants at the beginning and end of a prompt
  bool parse_special = true;   // "<|im_end|>" is a token, not text
};

}   // namespace tensorcache::engine
