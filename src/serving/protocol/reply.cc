#include "serving/protocol/reply.h"

#include <random>

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
