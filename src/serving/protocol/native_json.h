// Writes responses as llama-server's own completions (POST /completion).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "serving/protocol/reply.h"

namespace tensorcache::protocol {

// The tokens and the text of a response so far.
class NativeAnswer {
 public:
  explicit NativeAnswer(const ReplyHead& head) : head_(head) {}
  void add(const engine::Delta& delta);
  // Appends the object of a stream's event: the text and the tokens of one delta.
  void append_part(std::string& out, const engine::Delta& delta, std::int32_t prompt_tokens) const;
  // Appends the object that ends a response. `content`: its text, as the inside of a JSON string.
  void append_end(std::string& out, const ReplyEnd& end, std::string_view content, std::string_view tokens, bool with_probabilities) const;

  [[nodiscard]] const std::string& ids() const { return ids_; }

 private:
  [[nodiscard]] bool wants_probabilities() const { return head_.request->top_logprobs > 0; }

  const ReplyHead head_;
  std::string ids_, probabilities_;   // as the insides of JSON arrays
  std::int32_t tokens_ = 0;
  bool has_new_line_ = false;
};

// REQUIRES: the head has a request and its native options.
class NativeReply final : public WholeReply {
 public:
  explicit NativeReply(const ReplyHead& head) : head_(head), answer_(head) {}
  void add(const engine::Delta& delta) override;
  [[nodiscard]] std::string finish(const ReplyEnd& end) override;

 private:
  const ReplyHead head_;
  NativeAnswer answer_;
  std::string content_;   // as the inside of a JSON string
};

// Likewise. The last event has "stop":true; there is no [DONE].
class NativeStream final : public StreamReply {
 public:
  explicit NativeStream(const ReplyHead& head) : head_(head), answer_(head) {}
  void begin(std::string& out, const engine::Usage& usage) override;
  void delta(std::string& out, const engine::Delta& delta) override;
  void finish(std::string& out, const ReplyEnd& end) override;
  void fail(std::string& out, const Problem& problem) override;

 private:
  const ReplyHead head_;
  NativeAnswer answer_;
  std::int32_t prompt_tokens_ = 0;
};

// RETURNS the settings that a request is answered with, as a JSON object.
[[nodiscard]] std::string generation_settings_json(const engine::Request& request);

}   // namespace tensorcache::protocol
