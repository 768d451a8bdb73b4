// Writes responses as Anthropic's messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "serving/protocol/reply.h"

namespace tensorcache::protocol {

class AnthropicReply final : public WholeReply {
 public:
  explicit AnthropicReply(const ReplyHead& head) : head_(head) {}
  void add(const engine::Delta& delta) override;
  [[nodiscard]] std::string finish(const ReplyEnd& end) override;

 private:
  ReplyHead head_;
  std::string text_, reasoning_;   // as the inside of JSON strings
  std::vector<engine::ToolCall> calls_;
};

// Its content blocks come one after the other: thinking, text, a block for each tool call.
class AnthropicStream final : public StreamReply {
 public:
  explicit AnthropicStream(const ReplyHead& head) : head_(head) {}
  void begin(std::string& out, const engine::Usage& usage) override;
  void delta(std::string& out, const engine::Delta& delta) override;
  void finish(std::string& out, const ReplyEnd& end) override;
  void fail(std::string& out, const Problem& problem) override;

 private:
  enum class Block : std::uint8_t { kNone, kThinking, kText, kToolUse };
  void open_block(std::string& out, Block kind, std::string_view content);
  void close_block(std::string& out);
  void append_delta(std::string& out, std::string_view type, std::string_view member, std::string_view text) const;

  ReplyHead head_;
  Block block_ = Block::kNone;
  std::int64_t blocks_ = 0;   // begun so far
};

}   // namespace tensorcache::protocol
