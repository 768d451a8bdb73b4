// Writes responses as OpenAI's JSON: complete, or as chunks of a stream.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/engine/request.h"

namespace tensorcache::protocol {

// Fields common to all chunks of a reply.
struct ReplyHead {
  engine::Request::Kind kind = engine::Request::Kind::kChat;
  std::string_view model;
  std::string_view fingerprint;   // "tc-" and 12 hexadecimal digits
  std::int64_t created_unix_s = 0;
  bool logprobs = false;
};

// RETURNS "chatcmpl-", "cmpl-" or another prefix, and 24 random letters and digits. Not a secret.
[[nodiscard]] std::string random_id(std::string_view prefix);
// RETURNS EngineInfo::answer_fingerprint as `system_fingerprint`.
[[nodiscard]] std::string fingerprint_text(const Key& fingerprint);
[[nodiscard]] std::string model_json(const engine::EngineInfo& info);

// Collects the tokens of a response in the format of its kind. Every delta must be added, so that
// text offsets are right.
class LogprobsJson {
 public:
  explicit LogprobsJson(engine::Request::Kind kind) : kind_(kind) {}
  void add(const engine::Delta& delta);
  // Appends the JSON object of all tokens since the last call.
  void take(std::string& out);

 private:
  void add_completion_token(const engine::TokenLogprob& token);
  engine::Request::Kind kind_;
  std::string tokens_, values_, tops_, offsets_;   // chat: all in tokens_
  std::int64_t characters_ = 0;
};

// A reply that is sent in one piece.
class WholeReply {
 public:
  explicit WholeReply(const ReplyHead& head);
  void add(const engine::Delta& delta);
  [[nodiscard]] std::string finish(engine::FinishReason reason, const engine::Usage& usage);

 private:
  void append_message(std::string& out) const;

  ReplyHead head_;
  std::string text_, reasoning_;   // as the inside of JSON strings
  std::vector<engine::ToolCall> calls_;
  LogprobsJson logprobs_;
};

// A reply as server-sent events. Each function appends complete events.
class StreamReply {
 public:
  StreamReply(const ReplyHead& head, bool include_usage);
  void begin(std::string& out);
  void delta(std::string& out, const engine::Delta& delta);
  void finish(std::string& out, engine::FinishReason reason, const engine::Usage& usage);   // appends usage, if requested, and [DONE]

 private:
  void open(std::string& out) const;
  void close(std::string& out) const;
  ReplyHead head_;
  bool include_usage_;
  std::string prefix_;   // "data: {...,": common beginning of all chunks
  LogprobsJson logprobs_;
};

}   // namespace tensorcache::protocol
