// Writes responses as OpenAI's chat completions and completions, and its list of models.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/protocol/reply.h"

namespace tensorcache::protocol {

// RETURNS EngineInfo::answer_fingerprint as `system_fingerprint`.
[[nodiscard]] std::string fingerprint_text(const Key& fingerprint);
[[nodiscard]] std::string model_json(const engine::EngineInfo& info);

// Collects the tokens of a response in the format of its kind. Every delta must be added, so that
// text offsets are right.
class LogprobsJson {
 public:
  explicit LogprobsJson(Format format) : format_(format) {}
  void add(const engine::Delta& delta);
  // Appends the JSON object of all tokens since the last call.
  void take(std::string& out);
  // RETURNS those tokens alone, separated by commas, in the format of chats.
  [[nodiscard]] std::string take_tokens();

 private:
  void add_completion_token(const engine::TokenLogprob& token);
  Format format_;
  std::string tokens_, values_, tops_, offsets_;   // chat: all in tokens_
  std::int64_t characters_ = 0;
};

// A reply to a chat completion or a completion.
class OpenAiReply final : public WholeReply {
 public:
  explicit OpenAiReply(const ReplyHead& head);
  void add(const engine::Delta& delta) override;
  [[nodiscard]] std::string finish(const ReplyEnd& end) override;

 private:
  void append_message(std::string& out) const;

  ReplyHead head_;
  std::string text_, reasoning_;   // as the inside of JSON strings
  std::vector<engine::ToolCall> calls_;
  LogprobsJson logprobs_;
};

class OpenAiStream final : public StreamReply {
 public:
  explicit OpenAiStream(const ReplyHead& head);
  void begin(std::string& out, const engine::Usage& usage) override;
  void delta(std::string& out, const engine::Delta& delta) override;
  void finish(std::string& out, const ReplyEnd& end) override;   // appends usage, if requested, and [DONE]
  void fail(std::string& out, const Problem& problem) override;

 private:
  void open(std::string& out) const;
  void close(std::string& out) const;
  ReplyHead head_;
  std::string prefix_;   // "data: {...,": common beginning of all chunks
  LogprobsJson logprobs_;
};

}   // namespace tensorcache::protocol
