#include "serving/llama/answer_parser.h"

#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>

namespace tensorcache::llama {
namespace {

// RETURNS what `now` has after `before`, and remembers it. A parser may take back what it found, until more text comes.
std::string grown(std::string& before, const std::string& now) {
  if (now.size() <= before.size() || !now.starts_with(before)) return {};
  std::string more = now.substr(before.size());
  before = now;
  return more;
}

std::optional<common_chat_msg> parse_text(const AnswerFormat& format, const std::string& text, bool complete) {
  try {
    return common_chat_parse(text, !complete, format.parser);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}   // namespace

AnswerParser::AnswerParser(std::shared_ptr<const AnswerFormat> format, const Key& prompt) : format_(std::move(format)), prompt_(prompt) {
  if (format_->plain || !format_->continues) return;
  if (const auto begun = parse_text(*format_, "", false)) {
    reasoning_ = begun->reasoning_content;
    content_ = begun->content;
    begun_bytes_ = reasoning_.size() + content_.size();
  }
}

engine::Delta AnswerParser::push(engine::Delta piece) {
  if (format_->plain) return piece;
  text_ += piece.text;
  engine::Delta out;
  out.logprobs = std::move(piece.logprobs);
  if (text_.size() - parsed_bytes_ > text_.size() / 256) parse(false, out);
  return out;
}

engine::Delta AnswerParser::finish(engine::Delta piece) {
  if (format_->plain) return piece;
  text_ += piece.text;
  engine::Delta out;
  out.logprobs = std::move(piece.logprobs);
  parse(true, out);
  if (reasoning_.size() + content_.size() == begun_bytes_ && calls_.empty()) out.text = text_;
  return out;
}

void AnswerParser::parse(bool complete, engine::Delta& out) {
  parsed_bytes_ = text_.size();
  std::optional<common_chat_msg> message = parse_text(*format_, text_, complete);
  const bool whole = complete && message;
  if (!message && complete) message = parse_text(*format_, text_, false);   // cut off by max_tokens, say
  if (!message) return;
  out.reasoning = grown(reasoning_, message->reasoning_content);
  out.text = grown(content_, message->content);
  add_calls(message->tool_calls, complete, out);
  for (std::size_t i = 0; whole && i < calls_.size(); ++i) {   // a call that is cut off may be parsed as less than before
    if (calls_[i].arguments != message->tool_calls.at(i).arguments)
      throw std::runtime_error("the arguments of a tool call changed while they were sent");
  }
}

// A call is announced when its name cannot grow any more.
void AnswerParser::add_calls(const std::vector<common_chat_tool_call>& calls, bool complete, engine::Delta& out) {
  for (std::size_t i = 0; i < calls.size(); ++i) {
    engine::ToolCallDelta delta;
    delta.index = static_cast<std::uint32_t>(i);
    if (i == calls_.size()) {
      const bool named = !calls[i].name.empty() && (complete || i + 1 < calls.size() || !calls[i].arguments.empty());
      if (!named) return;
      delta.name = calls[i].name;
      delta.id = calls[i].id;
      if (delta.id.empty()) {
        delta.id = "call_" + KeyBuilder("tool-call/1").field("prompt", prompt_).field("index", std::uint64_t{i}).build().hex().substr(0, 24);
      }
      calls_.push_back({delta.id, {}});
    }
    delta.arguments = grown(calls_[i].arguments, calls[i].arguments);
    if (!delta.name.empty() || !delta.arguments.empty()) out.tool_calls.push_back(std::move(delta));
  }
}

}   // namespace tensorcache::llama
