// The protocols that requests and replies are written in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "serving/engine/request.h"

namespace tensorcache::protocol {

enum class Format : std::uint8_t {
  kChat,         // OpenAI's chat completions
  kCompletion,   // OpenAI's completions
  kMessages,     // Anthropic's messages
  kResponses,    // OpenAI's responses
  kNative,       // llama-server's completions
};

// What only replies of kNative have.
struct NativeOptions {
  bool return_tokens = false;                 // the ids of the answer's tokens
  std::vector<std::string> response_fields;   // the members of a reply, as "generation_settings/seed"; empty: all
};

[[nodiscard]] constexpr engine::Request::Kind kind_of(Format format) {
  return format == Format::kCompletion || format == Format::kNative ? engine::Request::Kind::kCompletion : engine::Request::Kind::kChat;
}

}   // namespace tensorcache::protocol
