// The protocols that requests and replies are written in.
#pragma once

#include <cstdint>

#include "serving/engine/request.h"

namespace tensorcache::protocol {

enum class Format : std::uint8_t {
  kChat,         // OpenAI's chat completions
  kCompletion,   // OpenAI's completions
  kMessages,     // Anthropic's messages
  kResponses,    // OpenAI's responses
};

[[nodiscard]] constexpr engine::Request::Kind kind_of(Format format) {
  return format == Format::kCompletion ? engine::Request::Kind::kCompletion : engine::Request::Kind::kChat;
}

}   // namespace tensorcache::protocol
