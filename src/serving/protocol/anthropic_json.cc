#include "serving/protocol/anthropic_json.h"

#include "base/json/json_document.h"
#include "serving/protocol/json_members.h"

namespace tensorcache::protocol {
namespace {

std::string_view stop_reason(const ReplyEnd& end) {
  if (end.reason == engine::FinishReason::kLength) return "max_tokens";
  if (end.reason == engine::FinishReason::kToolCalls) return "tool_use";
  return end.stop_sequence.empty() ? "end_turn" : "stop_sequence";
}

// Appends `"stop_reason":..,"stop_sequence":..`.
void append_stop(std::string& out, const ReplyEnd& end) {
  out += "\"stop_reason\":\"";
  out += stop_reason(end);
  out += "\",\"stop_sequence\":";
  if (end.stop_sequence.empty())
    out += "null";
  else
    json::append_json_string(out, end.stop_sequence);
}

// Prompt tokens from the cache are not among `input_tokens`.
void append_usage(std::string& out, const engine::Usage& usage) {
  out += "\"usage\":{\"input_tokens\":";
  json::append_json_number(out, usage.prompt_tokens - usage.cached_tokens);
  append_number(out, "cache_creation_input_tokens", 0);
  append_number(out, "cache_read_input_tokens", usage.cached_tokens);
  append_number(out, "output_tokens", usage.completion_tokens);
  out += '}';
}

// Appends {"id":..,"type":"message",..,"model":.. without the closing brace.
void append_head(std::string& out, const ReplyHead& head) {
  out += "{\"id\":\"" + random_id("msg_") + R"(","type":"message","role":"assistant")";
  append_text(out, "model", head.model);
}

// Arguments that are cut off are no JSON, and would make the reply none.
std::string_view object_or_empty(std::string_view arguments) {
  const auto parsed = json::parse_json(arguments, {});
  return parsed && parsed->is_object() ? arguments : "{}";
}

void append_event(std::string& out, std::string_view type, std::string_view members) {
  out += "event: ";
  out += type;
  out += "\ndata: {\"type\":\"";
  out += type;
  out += '"';
  out += members;
  out += "}\n\n";
}

}   // namespace

void AnthropicReply::add(const engine::Delta& delta) {
  json::append_json_escaped(reasoning_, delta.reasoning);
  json::append_json_escaped(text_, delta.text);
  add_pieces(calls_, delta.tool_calls);
}

std::string AnthropicReply::finish(const ReplyEnd& end) {
  std::string out, blocks;
  append_head(out, head_);
  if (!reasoning_.empty()) blocks += R"(,{"type":"thinking","thinking":")" + reasoning_ + R"(","signature":""})";
  if (!text_.empty() || calls_.empty()) blocks += R"(,{"type":"text","text":")" + text_ + "\"}";
  for (const engine::ToolCall& call : calls_) {
    blocks += R"(,{"type":"tool_use")";
    append_text(blocks, "id", call.id);
    append_text(blocks, "name", call.name);
    blocks += ",\"input\":";
    blocks += object_or_empty(call.arguments);
    blocks += '}';
  }
  out += ",\"content\":[" + blocks.substr(1) + "],";
  append_stop(out, end);
  out += ',';
  append_usage(out, end.usage);
  out += '}';
  return out;
}

void AnthropicStream::begin(std::string& out, const engine::Usage& usage) {
  std::string message = ",\"message\":";
  append_head(message, head_);
  message += R"(,"content":[],"stop_reason":null,"stop_sequence":null,)";
  append_usage(message, usage);
  message += '}';
  append_event(out, "message_start", message);
}

void AnthropicStream::open_block(std::string& out, Block kind, std::string_view content) {
  close_block(out);
  block_ = kind;
  std::string members;
  append_number(members, "index", blocks_++);
  members += ",\"content_block\":";
  members += content;
  append_event(out, "content_block_start", members);
}

void AnthropicStream::close_block(std::string& out) {
  if (block_ == Block::kNone) return;
  if (block_ == Block::kThinking) append_delta(out, "signature_delta", "signature", "");
  block_ = Block::kNone;
  std::string members;
  append_number(members, "index", blocks_ - 1);
  append_event(out, "content_block_stop", members);
}

void AnthropicStream::append_delta(std::string& out, std::string_view type, std::string_view member, std::string_view text) const {
  std::string members;
  append_number(members, "index", blocks_ - 1);
  members += ",\"delta\":{\"type\":\"";
  members += type;
  members += '"';
  append_text(members, member, text);
  members += '}';
  append_event(out, "content_block_delta", members);
}

void AnthropicStream::delta(std::string& out, const engine::Delta& delta) {
  if (!delta.reasoning.empty()) {
    if (block_ != Block::kThinking) open_block(out, Block::kThinking, R"({"type":"thinking","thinking":"","signature":""})");
    append_delta(out, "thinking_delta", "thinking", delta.reasoning);
  }
  if (!delta.text.empty()) {
    if (block_ != Block::kText) open_block(out, Block::kText, R"({"type":"text","text":""})");
    append_delta(out, "text_delta", "text", delta.text);
  }
  for (const engine::ToolCallDelta& call : delta.tool_calls) {
    if (!call.id.empty()) {
      std::string content = R"({"type":"tool_use")";
      append_text(content, "id", call.id);
      append_text(content, "name", call.name);
      content += ",\"input\":{}}";
      open_block(out, Block::kToolUse, content);
    }
    if (!call.arguments.empty()) append_delta(out, "input_json_delta", "partial_json", call.arguments);
  }
}

void AnthropicStream::finish(std::string& out, const ReplyEnd& end) {
  if (blocks_ == 0) open_block(out, Block::kText, R"({"type":"text","text":""})");
  close_block(out);
  std::string members = ",\"delta\":{";
  append_stop(members, end);
  members += "},";
  append_usage(members, end.usage);
  append_event(out, "message_delta", members);
  append_event(out, "message_stop", "");
}

void AnthropicStream::fail(std::string& out, const Problem& problem) {
  out += "event: error\ndata: " + problem_json(problem, Format::kMessages) + "\n\n";
}

}   // namespace tensorcache::protocol
