#include "serving/protocol/responses_json.h"

#include "serving/protocol/json_members.h"

namespace tensorcache::protocol {
namespace {

void append_usage(std::string& out, const engine::Usage& usage) {
  out += ",\"usage\":{\"input_tokens\":";
  json::append_json_number(out, usage.prompt_tokens);
  out += ",\"input_tokens_details\":{\"cached_tokens\":";
  json::append_json_number(out, usage.cached_tokens);
  out += '}';
  append_number(out, "output_tokens", usage.completion_tokens);
  out += ",\"output_tokens_details\":{\"reasoning_tokens\":0}";
  append_number(out, "total_tokens", std::int64_t{usage.prompt_tokens} + usage.completion_tokens);
  out += '}';
}

std::string text_part(std::string_view text, std::string_view logprobs) {
  std::string out = R"({"type":"output_text","annotations":[],"logprobs":[)";
  out += logprobs;
  out += ']';
  append_text(out, "text", text);
  out += '}';
  return out;
}

std::string message_item(std::string_view id, std::string_view status, std::string_view parts) {
  std::string out = R"({"type":"message","role":"assistant")";
  append_text(out, "id", id);
  append_text(out, "status", status);
  out += ",\"content\":[";
  out += parts;
  out += "]}";
  return out;
}

std::string reasoning_item(std::string_view id, std::string_view status, std::string_view text) {
  std::string out = R"({"type":"reasoning","summary":[],"encrypted_content":"")";
  append_text(out, "id", id);
  append_text(out, "status", status);
  out += ",\"content\":[";
  if (!text.empty()) {
    out += R"({"type":"reasoning_text")";
    append_text(out, "text", text);
    out += '}';
  }
  out += "]}";
  return out;
}

std::string call_item(std::string_view id, std::string_view status, const engine::ToolCall& call) {
  std::string out = R"({"type":"function_call")";
  append_text(out, "id", id);
  append_text(out, "call_id", call.id);
  append_text(out, "name", call.name);
  append_text(out, "arguments", call.arguments);
  append_text(out, "status", status);
  out += '}';
  return out;
}

void append_tools(std::string& out, const engine::Request& request) {
  constexpr std::string_view kChoices[] = {"auto", "none", "required"};
  out += ",\"tools\":[";
  for (std::size_t i = 0; i < request.chat.tools.size(); ++i) {
    const engine::Tool& tool = request.chat.tools[i];
    out += i > 0 ? R"(,{"type":"function")" : R"({"type":"function")";
    append_text(out, "name", tool.name);
    append_text(out, "description", tool.description);
    out += ",\"parameters\":" + tool.parameters + ",\"strict\":true}";
  }
  out += ']';
  append_text(out, "tool_choice", kChoices[static_cast<std::size_t>(request.chat.tool_choice)]);
  out += ",\"parallel_tool_calls\":";
  out += request.chat.parallel_tool_calls.value_or(true) ? "true" : "false";
}

}   // namespace

ResponseObject::ResponseObject(const ReplyHead& head) : head_(head), id_(random_id("resp_")) {}

void ResponseObject::append(std::string& out, std::string_view status, std::string_view output, const ReplyEnd* end) const {
  out += R"({"object":"response")";
  append_text(out, "id", id_);
  append_number(out, "created_at", head_.created_unix_s);
  append_text(out, "status", status);
  append_text(out, "model", head_.model);
  append_text(out, "system_fingerprint", head_.fingerprint);
  out += R"(,"error":null,"instructions":null,"previous_response_id":null,"store":false,"truncation":"disabled","metadata":{})";
  const bool incomplete = end && end->reason == engine::FinishReason::kLength;
  out += incomplete ? R"(,"incomplete_details":{"reason":"max_output_tokens"})" : ",\"incomplete_details\":null";
  if (head_.request) {
    append_tools(out, *head_.request);
    out += ",\"temperature\":";
    json::append_json_number(out, head_.request->sampling.temperature);
    out += ",\"top_p\":";
    json::append_json_number(out, head_.request->sampling.top_p);
    if (head_.request->max_tokens > 0)
      append_number(out, "max_output_tokens", head_.request->max_tokens);
    else
      out += ",\"max_output_tokens\":null";
  }
  out += ",\"output\":[";
  out += output;
  out += ']';
  if (end)
    append_usage(out, end->usage);
  else
    out += ",\"usage\":null";
  out += '}';
}

void ResponsesReply::add(const engine::Delta& delta) {
  reasoning_ += delta.reasoning;
  text_ += delta.text;
  add_pieces(calls_, delta.tool_calls);
  if (head_.logprobs) logprobs_.add(delta);
}

std::string ResponsesReply::finish(const ReplyEnd& end) {
  const std::string_view status = end.reason == engine::FinishReason::kLength ? "incomplete" : "completed";
  std::string output;
  if (!reasoning_.empty()) output += ',' + reasoning_item(random_id("rs_"), "completed", reasoning_);
  if (!text_.empty() || calls_.empty()) output += ',' + message_item(random_id("msg_"), status, text_part(text_, logprobs_.take_tokens()));
  for (const engine::ToolCall& call : calls_) output += ',' + call_item(random_id("fc_"), status, call);
  std::string out;
  object_.append(out, status, std::string_view(output).substr(1), &end);
  return out;
}

void ResponsesStream::event(std::string& out, std::string_view type, std::string_view members) {
  out += "event: ";
  out += type;
  out += "\ndata: {\"type\":\"";
  out += type;
  out += '"';
  append_number(out, "sequence_number", events_++);
  out += members;
  out += "}\n\n";
}

// Which item, and which part of it, an event is about.
void ResponsesStream::place(std::string& members, bool with_content) const {
  append_text(members, "item_id", id_);
  append_number(members, "output_index", items_ - 1);
  if (with_content) append_number(members, "content_index", 0);
}

void ResponsesStream::begin(std::string& out, const engine::Usage&) {
  for (const std::string_view type : {"response.created", "response.in_progress"}) {
    std::string members = ",\"response\":";
    object_.append(members, "in_progress", "", nullptr);
    event(out, type, members);
  }
}

void ResponsesStream::open_item(std::string& out, Item kind) {
  close_item(out);
  item_ = kind;
  text_.clear();
  id_ = random_id(kind == Item::kReasoning ? "rs_" : kind == Item::kMessage ? "msg_" : "fc_");
  std::string members;
  append_number(members, "output_index", items_++);
  members += ",\"item\":";
  if (kind == Item::kReasoning) members += reasoning_item(id_, "in_progress", "");
  if (kind == Item::kMessage) members += message_item(id_, "in_progress", "");
  if (kind == Item::kCall) members += call_item(id_, "in_progress", call_);
  event(out, "response.output_item.added", members);
  if (kind != Item::kMessage) return;
  members.clear();
  place(members, true);
  members += ",\"part\":" + text_part("", "");
  event(out, "response.content_part.added", members);
}

void ResponsesStream::close_item(std::string& out) {
  if (item_ == Item::kNone) return;
  std::string members, item;
  place(members, item_ != Item::kCall);
  if (item_ == Item::kReasoning) {
    append_text(members, "text", text_);
    event(out, "response.reasoning_text.done", members);
    item = reasoning_item(id_, "completed", text_);
  } else if (item_ == Item::kMessage) {
    std::string done = members;
    append_text(done, "text", text_);
    done += ",\"logprobs\":[]";
    event(out, "response.output_text.done", done);
    const std::string part = text_part(text_, "");
    event(out, "response.content_part.done", members + ",\"part\":" + part);
    item = message_item(id_, "completed", part);
  } else {
    call_.arguments = text_;
    append_text(members, "name", call_.name);
    append_text(members, "arguments", text_);
    event(out, "response.function_call_arguments.done", members);
    item = call_item(id_, "completed", call_);
  }
  item_ = Item::kNone;
  members.clear();
  append_number(members, "output_index", items_ - 1);
  event(out, "response.output_item.done", members + ",\"item\":" + item);
  output_ += output_.empty() ? item : ',' + item;
}

void ResponsesStream::append_text_delta(std::string& out, std::string_view type, std::string_view text) {
  text_ += text;
  std::string members;
  place(members, item_ != Item::kCall);
  append_text(members, "delta", text);
  if (item_ == Item::kMessage) members += ",\"logprobs\":[]";
  event(out, type, members);
}

void ResponsesStream::delta(std::string& out, const engine::Delta& delta) {
  if (!delta.reasoning.empty()) {
    if (item_ != Item::kReasoning) open_item(out, Item::kReasoning);
    append_text_delta(out, "response.reasoning_text.delta", delta.reasoning);
  }
  if (!delta.text.empty()) {
    if (item_ != Item::kMessage) open_item(out, Item::kMessage);
    append_text_delta(out, "response.output_text.delta", delta.text);
  }
  for (const engine::ToolCallDelta& call : delta.tool_calls) {
    if (!call.id.empty()) {
      close_item(out);
      call_ = {call.id, call.name, {}};
      open_item(out, Item::kCall);
    }
    if (!call.arguments.empty()) append_text_delta(out, "response.function_call_arguments.delta", call.arguments);
  }
}

void ResponsesStream::finish(std::string& out, const ReplyEnd& end) {
  if (items_ == 0) open_item(out, Item::kMessage);
  close_item(out);
  const bool incomplete = end.reason == engine::FinishReason::kLength;
  std::string members = ",\"response\":";
  object_.append(members, incomplete ? "incomplete" : "completed", output_, &end);
  event(out, incomplete ? "response.incomplete" : "response.completed", members);
}

void ResponsesStream::fail(std::string& out, const Problem& problem) {
  std::string members;
  append_text(members, "code", problem.code);
  append_text(members, "message", problem.message);
  members += ",\"param\":null";
  event(out, "error", members);
}

}   // namespace tensorcache::protocol
