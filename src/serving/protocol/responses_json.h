// Writes responses as OpenAI's Responses API has them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "serving/protocol/openai_json.h"
#include "serving/protocol/reply.h"

namespace tensorcache::protocol {

// The object "response" as far as it is known. Shared by whole replies and streams.
class ResponseObject {
 public:
  explicit ResponseObject(const ReplyHead& head);

  // Appends the object. `output`: its items, separated by commas. `end`: none while it is in progress.
  void append(std::string& out, std::string_view status, std::string_view output, const ReplyEnd* end) const;

 private:
  ReplyHead head_;
  std::string id_;
};

class ResponsesReply final : public WholeReply {
 public:
  explicit ResponsesReply(const ReplyHead& head) : head_(head), object_(head), logprobs_(Format::kChat) {}
  void add(const engine::Delta& delta) override;
  [[nodiscard]] std::string finish(const ReplyEnd& end) override;

 private:
  ReplyHead head_;
  ResponseObject object_;
  std::string text_, reasoning_;
  std::vector<engine::ToolCall> calls_;
  LogprobsJson logprobs_;
};

// Its output items come one after the other: reasoning, a message, an item for each tool call.
class ResponsesStream final : public StreamReply {
 public:
  explicit ResponsesStream(const ReplyHead& head) : object_(head) {}
  void begin(std::string& out, const engine::Usage& usage) override;
  void delta(std::string& out, const engine::Delta& delta) override;
  void finish(std::string& out, const ReplyEnd& end) override;
  void fail(std::string& out, const Problem& problem) override;

 private:
  enum class Item : std::uint8_t { kNone, kReasoning, kMessage, kCall };
  void event(std::string& out, std::string_view type, std::string_view members);
  void place(std::string& members, bool with_content) const;
  void open_item(std::string& out, Item kind);
  void close_item(std::string& out);
  void append_text_delta(std::string& out, std::string_view type, std::string_view text);

  ResponseObject object_;
  Item item_ = Item::kNone;
  std::string id_, text_;   // of the item; its text or arguments so far
  engine::ToolCall call_;   // of a kCall, without its arguments
  std::string output_;      // the items that are complete
  std::int64_t items_ = 0, events_ = 0;
};

}   // namespace tensorcache::protocol
