#include "serving/protocol/openai_json.h"

#include <utility>

#include "base/core/utf8.h"
#include "base/json/json_text.h"
#include "serving/protocol/json_members.h"

namespace tensorcache::protocol {
namespace {

bool chat(const ReplyHead& head) { return head.format == Format::kChat; }

std::string_view reason_text(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kLength:
      return "\"length\"";
    case engine::FinishReason::kToolCalls:
      return "\"tool_calls\"";
    case engine::FinishReason::kStop:
      break;
  }
  return "\"stop\"";
}

void append_head(std::string& out, const ReplyHead& head, std::string_view object) {
  out += "{\"id\":\"";
  out += random_id(chat(head) ? "chatcmpl-" : "cmpl-");
  out += "\",\"object\":\"";
  out += object;
  out += "\",\"created\":";
  json::append_json_number(out, head.created_unix_s);
  out += ",\"model\":";
  json::append_json_string(out, head.model);
  out += ",\"system_fingerprint\":";
  json::append_json_string(out, head.fingerprint);
  out += ',';
}

void append_usage(std::string& out, const engine::Usage& usage) {
  out += "\"usage\":{\"prompt_tokens\":";
  json::append_json_number(out, usage.prompt_tokens);
  out += ",\"completion_tokens\":";
  json::append_json_number(out, usage.completion_tokens);
  out += ",\"total_tokens\":";
  json::append_json_number(out, std::int64_t{usage.prompt_tokens} + usage.completion_tokens);
  out += ",\"prompt_tokens_details\":{\"cached_tokens\":";
  json::append_json_number(out, usage.cached_tokens);
  out += "}}";
}

// Appends {"token":..,"logprob":..,"bytes":[..] without the closing brace.
void append_chat_candidate(std::string& out, const engine::TokenLogprob::Candidate& candidate) {
  out += "{\"token\":";
  json::append_json_string(out, candidate.bytes);
  out += ",\"logprob\":";
  json::append_json_number(out, candidate.logprob);
  out += ",\"bytes\":";
  append_bytes(out, candidate.bytes);
}

void append_chat_token(std::string& out, const engine::TokenLogprob& token) {
  append_chat_candidate(out, token.token);
  out += ",\"top_logprobs\":[";
  for (std::size_t i = 0; i < token.top.size(); ++i) {
    if (i > 0) out += ',';
    append_chat_candidate(out, token.top[i]);
    out += '}';
  }
  out += "]}";
}

// {"content":..} or {"reasoning_content":..,"tool_calls":[..]}: the members that there are.
void append_chat_delta(std::string& out, const engine::Delta& delta) {
  out += '{';
  if (!delta.reasoning.empty()) {
    out += "\"reasoning_content\":";
    json::append_json_string(out, delta.reasoning);
  }
  const bool has_others = !delta.reasoning.empty() || !delta.tool_calls.empty();
  if (!delta.text.empty() || !has_others) {
    out += delta.reasoning.empty() ? "\"content\":" : ",\"content\":";
    json::append_json_string(out, delta.text);
  }
  if (!delta.tool_calls.empty()) out += delta.reasoning.empty() && delta.text.empty() ? "\"tool_calls\":[" : ",\"tool_calls\":[";
  for (std::size_t i = 0; i < delta.tool_calls.size(); ++i) {
    const engine::ToolCallDelta& call = delta.tool_calls[i];
    out += i > 0 ? ",{\"index\":" : "{\"index\":";
    json::append_json_number(out, std::int64_t{call.index});
    if (!call.id.empty()) {
      out += ",\"id\":";
      json::append_json_string(out, call.id);
      out += ",\"type\":\"function\"";
    }
    out += ",\"function\":{";
    if (!call.name.empty()) {
      out += "\"name\":";
      json::append_json_string(out, call.name);
      out += ',';
    }
    out += "\"arguments\":";
    json::append_json_string(out, call.arguments);
    out += "}}";
  }
  out += delta.tool_calls.empty() ? "}" : "]}";
}

// Completions have no `bytes` array: incomplete characters are spelled as OpenAI does, so that
// different ones stay different.
std::string completion_token_text(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "bytes:";
  for (const char c : bytes) {
    text += "\\x";
    text += kDigits[static_cast<std::uint8_t>(c) >> 4];
    text += kDigits[static_cast<std::uint8_t>(c) & 15];
  }
  return text;
}

}   // namespace

std::string fingerprint_text(const Key& fingerprint) { return "tc-" + fingerprint.hex().substr(0, 12); }

std::string model_json(const engine::EngineInfo& info) {
  std::string out = "{\"id\":";
  json::append_json_string(out, info.model_name);
  out += ",\"object\":\"model\",\"created\":";
  json::append_json_number(out, info.created_unix_s);
  out += ",\"owned_by\":\"tensorcache\",\"context_tokens\":";
  json::append_json_number(out, info.context_tokens);
  out += ",\"prefix_reuse\":";
  out += info.prefix_reuse ? "true" : "false";
  if (!info.prefix_reuse_note.empty()) {
    out += ",\"prefix_reuse_note\":";
    json::append_json_string(out, info.prefix_reuse_note);
  }
  append_texts(out, "aliases", info.aliases);
  out += ",\"meta\":{\"n_ctx\":";   // as llama-server's
  json::append_json_number(out, info.context_tokens);
  append_number(out, "n_ctx_train", info.trained_context_tokens);
  append_number(out, "n_vocab", info.vocab_tokens);
  append_number(out, "n_embd", info.embedding_size);
  append_number(out, "n_params", static_cast<std::int64_t>(info.parameters));
  append_number(out, "size", static_cast<std::int64_t>(info.model_bytes));
  out += "}}";
  return out;
}

void LogprobsJson::add(const engine::Delta& delta) {
  for (const engine::TokenLogprob& token : delta.logprobs) {
    if (!tokens_.empty()) tokens_ += ',';
    if (format_ == Format::kChat)
      append_chat_token(tokens_, token);
    else
      add_completion_token(token);
  }
}

void LogprobsJson::add_completion_token(const engine::TokenLogprob& token) {
  json::append_json_string(tokens_, completion_token_text(token.token.bytes));
  for (std::string* list : {&values_, &tops_, &offsets_})
    if (!list->empty()) *list += ',';
  json::append_json_number(values_, token.token.logprob);
  json::append_json_number(offsets_, characters_);
  tops_ += '{';
  for (std::size_t i = 0; i < token.top.size(); ++i) {
    if (i > 0) tops_ += ',';
    json::append_json_string(tops_, completion_token_text(token.top[i].bytes));
    tops_ += ':';
    json::append_json_number(tops_, token.top[i].logprob);
  }
  tops_ += '}';
  for (const char c : token.token.bytes)
    characters_ += (static_cast<std::uint8_t>(c) & 0xC0) != 0x80;   // counts bytes that are not continuation bytes
}

void LogprobsJson::take(std::string& out) {
  if (format_ == Format::kChat) {
    out += "{\"content\":[" + tokens_ + "],\"refusal\":null}";
  } else {
    out += "{\"tokens\":[" + tokens_ + "],\"token_logprobs\":[" + values_ + "],\"top_logprobs\":[" + tops_ + "],\"text_offset\":[" + offsets_ + "]}";
  }
  for (std::string* list : {&tokens_, &values_, &tops_, &offsets_}) list->clear();
}

std::string LogprobsJson::take_tokens() { return std::exchange(tokens_, {}); }

OpenAiReply::OpenAiReply(const ReplyHead& head) : head_(head), logprobs_(head.format) {}

void OpenAiReply::add(const engine::Delta& delta) {
  json::append_json_escaped(reasoning_, delta.reasoning);
  json::append_json_escaped(text_, delta.text);
  add_pieces(calls_, delta.tool_calls);
  if (head_.logprobs) logprobs_.add(delta);
}

// With tool calls, no content is null, as in OpenAI's API.
void OpenAiReply::append_message(std::string& out) const {
  out += R"("message":{"role":"assistant","content":)";
  if (text_.empty() && !calls_.empty())
    out += "null";
  else
    out += '"' + text_ + '"';
  if (!reasoning_.empty()) out += ",\"reasoning_content\":\"" + reasoning_ + '"';
  if (!calls_.empty()) {
    out += ",\"tool_calls\":[";
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      out += i > 0 ? ",{\"id\":" : "{\"id\":";
      json::append_json_string(out, calls_[i].id);
      out += R"(,"type":"function","function":{"name":)";
      json::append_json_string(out, calls_[i].name);
      out += ",\"arguments\":";
      json::append_json_string(out, calls_[i].arguments);
      out += "}}";
    }
    out += ']';
  }
  out += R"(,"refusal":null})";
}

std::string OpenAiReply::finish(const ReplyEnd& end) {
  std::string out;
  out.reserve(text_.size() + 4096);
  append_head(out, head_, chat(head_) ? "chat.completion" : "text_completion");
  out += "\"choices\":[{\"index\":0,";
  if (chat(head_))
    append_message(out);
  else
    out += "\"text\":\"" + text_ + '"';
  out += ",\"logprobs\":";
  if (head_.logprobs)
    logprobs_.take(out);
  else
    out += "null";
  out += ",\"finish_reason\":";
  out += reason_text(end.reason);
  out += "}],";
  append_usage(out, end.usage);
  out += '}';
  return out;
}

OpenAiStream::OpenAiStream(const ReplyHead& head) : head_(head), logprobs_(head.format) {
  prefix_ = "data: ";
  append_head(prefix_, head, chat(head) ? "chat.completion.chunk" : "text_completion");
}

void OpenAiStream::open(std::string& out) const {
  out += prefix_;
  out += chat(head_) ? R"("choices":[{"index":0,"delta":)" : R"("choices":[{"index":0,"text":)";
}

// Follows "finish_reason". Every chunk but the last has "usage":null if usage was requested, as in
// OpenAI's API.
void OpenAiStream::close(std::string& out) const { out += head_.include_usage ? "}],\"usage\":null}\n\n" : "}]}\n\n"; }

void OpenAiStream::begin(std::string& out, const engine::Usage&) {
  if (!chat(head_)) return;
  open(out);
  out += R"({"role":"assistant","content":null},"logprobs":null,"finish_reason":null)";
  close(out);
}

void OpenAiStream::delta(std::string& out, const engine::Delta& delta) {
  const bool with_logprobs = head_.logprobs && !delta.logprobs.empty();
  if (delta.text.empty() && delta.reasoning.empty() && delta.tool_calls.empty() && !with_logprobs) return;
  open(out);
  if (chat(head_))
    append_chat_delta(out, delta);
  else
    json::append_json_string(out, delta.text);
  out += ",\"logprobs\":";
  if (with_logprobs) {
    logprobs_.add(delta);
    logprobs_.take(out);
  } else {
    out += "null";
  }
  out += ",\"finish_reason\":null";
  close(out);
}

void OpenAiStream::finish(std::string& out, const ReplyEnd& end) {
  open(out);
  out += chat(head_) ? "{}" : "\"\"";
  out += ",\"logprobs\":null,\"finish_reason\":";
  out += reason_text(end.reason);
  close(out);
  if (head_.include_usage) {
    out += prefix_;
    out += "\"choices\":[],";
    append_usage(out, end.usage);
    out += "}\n\n";
  }
  out += "data: [DONE]\n\n";
}

// No [DONE], so that no client takes the reply for complete.
void OpenAiStream::fail(std::string& out, const Problem& problem) { out += "data: " + problem_json(problem) + "\n\n"; }

}   // namespace tensorcache::protocol
