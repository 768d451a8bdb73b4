// Writes a response in a protocol's JSON: complete, or as events of a stream. A protocol is one class of each.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/protocol/format.h"
#include "serving/protocol/problem.h"

namespace tensorcache::protocol {

// Fields common to all parts of a reply.
struct ReplyHead {
  Format format = Format::kChat;
  std::string_view model;
  std::string_view fingerprint;   // "tc-" and 12 hexadecimal digits
  std::int64_t created_unix_s = 0;
  bool logprobs = false;
  bool include_usage = false;                 // in a stream of kChat or kCompletion
  const engine::Request* request = nullptr;   // for protocols that repeat it; must live as long
  const NativeOptions* native = nullptr;      // of kNative; likewise
};

struct ReplyEnd {
  engine::FinishReason reason = engine::FinishReason::kStop;
  engine::Usage usage;
  std::string_view stop_sequence;
  std::chrono::microseconds prefill{0}, decode{0};   // 0: nothing was computed
};

// A reply that is sent in one piece.
class WholeReply {
 public:
  virtual ~WholeReply() = default;
  virtual void add(const engine::Delta& delta) = 0;
  [[nodiscard]] virtual std::string finish(const ReplyEnd& end) = 0;
};

// A reply as server-sent events. Each function appends complete events.
class StreamReply {
 public:
  virtual ~StreamReply() = default;
  // `usage`: what is known of it by now.
  virtual void begin(std::string& out, const engine::Usage& usage) = 0;
  virtual void delta(std::string& out, const engine::Delta& delta) = 0;
  virtual void finish(std::string& out, const ReplyEnd& end) = 0;
  // Instead of finish().
  virtual void fail(std::string& out, const Problem& problem) = 0;
};

// Adds pieces of tool calls to the calls that they belong to.
void add_pieces(std::vector<engine::ToolCall>& calls, std::span<const engine::ToolCallDelta> pieces);

// RETURNS "chatcmpl-", "cmpl-" or another prefix, and 24 random letters and digits. Not a secret.
[[nodiscard]] std::string random_id(std::string_view prefix);

}   // namespace tensorcache::protocol
