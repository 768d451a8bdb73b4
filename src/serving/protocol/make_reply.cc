#include "serving/protocol/make_reply.h"

#include "serving/protocol/anthropic_json.h"
#include "serving/protocol/native_json.h"
#include "serving/protocol/openai_json.h"
#include "serving/protocol/responses_json.h"

namespace tensorcache::protocol {

std::unique_ptr<WholeReply> make_whole_reply(const ReplyHead& head) {
  if (head.format == Format::kMessages) return std::make_unique<AnthropicReply>(head);
  if (head.format == Format::kResponses) return std::make_unique<ResponsesReply>(head);
  if (head.format == Format::kNative) return std::make_unique<NativeReply>(head);
  return std::make_unique<OpenAiReply>(head);
}

std::unique_ptr<StreamReply> make_stream_reply(const ReplyHead& head) {
  if (head.format == Format::kMessages) return std::make_unique<AnthropicStream>(head);
  if (head.format == Format::kResponses) return std::make_unique<ResponsesStream>(head);
  if (head.format == Format::kNative) return std::make_unique<NativeStream>(head);
  return std::make_unique<OpenAiStream>(head);
}

}   // namespace tensorcache::protocol
