#include "serving/protocol/reply.h"

#include <random>

#include "serving/protocol/anthropic_json.h"
#include "serving/protocol/openai_json.h"
#include "serving/protocol/responses_json.h"

namespace tensorcache::protocol {

void add_pieces(std::vector<engine::ToolCall>& calls, std::span<const engine::ToolCallDelta> pieces) {
  for (const engine::ToolCallDelta& piece : pieces) {
    if (piece.index >= calls.size()) calls.resize(piece.index + 1);
    engine::ToolCall& call = calls[piece.index];
    call.id += piece.id;
    call.name += piece.name;
    call.arguments += piece.arguments;
  }
}

std::unique_ptr<WholeReply> make_whole_reply(const ReplyHead& head) {
  if (head.format == Format::kMessages) return std::make_unique<AnthropicReply>(head);
  if (head.format == Format::kResponses) return std::make_unique<ResponsesReply>(head);
  return std::make_unique<OpenAiReply>(head);
}

std::unique_ptr<StreamReply> make_stream_reply(const ReplyHead& head) {
  if (head.format == Format::kMessages) return std::make_unique<AnthropicStream>(head);
  if (head.format == Format::kResponses) return std::make_unique<ResponsesStream>(head);
  return std::make_unique<OpenAiStream>(head);
}

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  thread_local std::mt19937_64 random{(std::uint64_t{std::random_device{}()} << 32) ^ std::random_device{}()};
  std::string id(prefix);
  for (int block = 0; block < 3; ++block) {
    std::uint64_t bits = random();
    for (int i = 0; i < 8; ++i, bits /= kLetters.size()) id += kLetters[bits % kLetters.size()];
  }
  return id;
}

}   // namespace tensorcache::protocol
