#include "serving/protocol/parse_request.h"

#include <boost/json/monotonic_resource.hpp>

#include <utility>

#include "base/json/json_document.h"
#include "serving/protocol/anthropic_request.h"
#include "serving/protocol/native_request.h"
#include "serving/protocol/parse_fields.h"
#include "serving/protocol/parse_tools.h"
#include "serving/protocol/responses_request.h"

namespace tensorcache::protocol {
namespace {

MaybeProblem apply(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  if (draft.format == Format::kMessages) return apply_anthropic_field(draft, name, value);
  if (draft.format == Format::kResponses) return apply_responses_field(draft, name, value);
  if (draft.format == Format::kNative) return apply_native_field(draft, name, value);
  return apply_field(draft, name, value);
}

// A last message of the assistant is continued.
MaybeProblem check_last_message(const RequestDraft& draft) {
  const std::vector<engine::Message>& messages = draft.request().messages;
  const auto is_assistant = [&](std::size_t from_end) {
    return messages.size() >= from_end && messages[messages.size() - from_end].role == "assistant" &&
           messages[messages.size() - from_end].tool_calls.empty();
  };
  if (is_assistant(1) && is_assistant(2)) return bad_field("messages", "messages: two messages of the assistant at the end cannot be continued");
  if (draft.continues && draft.adds_generation_prompt.value_or(false)) {
    return bad_field("continue_final_message", "continue_final_message and add_generation_prompt cannot both be true");
  }
  if (draft.continues && !is_assistant(1)) {
    return bad_field("continue_final_message", "continue_final_message requires that the last message is the assistant's");
  }
  if (!draft.adds_generation_prompt.value_or(true) && !is_assistant(1)) {
    return bad_field("add_generation_prompt", "add_generation_prompt: false is supported only if the last message is the assistant's",
                     "unsupported_parameter");
  }
  return std::nullopt;
}

MaybeProblem finish(RequestDraft& draft) {
  const std::string messages = draft.format == Format::kResponses ? "input" : "messages";
  if (draft.chat() && !draft.has_messages) return bad_field(messages, messages + " is missing", "missing_required_parameter");
  if (!draft.system.empty()) {
    auto& turns = draft.request().messages;
    turns.insert(turns.begin(), {"system", std::move(draft.system)});
  }
  if (draft.chat() && draft.request().messages.empty()) return bad_field(messages, messages + " must have at least one message");
  if (draft.format == Format::kChat) {
    if (MaybeProblem problem = check_last_message(draft)) return problem;
  }
  if (!draft.chat() && !draft.has_prompt) return bad_field("prompt", "prompt is missing", "missing_required_parameter");
  if (draft.has_stream_options && !draft.parsed.stream) return bad_field("stream_options", "stream_options is only allowed if stream is true");
  if (draft.top_logprobs) {
    if (!draft.request().logprobs) return bad_field("top_logprobs", "top_logprobs requires logprobs to be true");
    draft.request().top_logprobs = *draft.top_logprobs;
  }
  return check_tools(draft);
}

}   // namespace

std::variant<ParsedRequest, Problem> parse_request(Format format, std::string_view body, std::int32_t vocab_tokens, UnknownFields unknown_fields,
                                                   const RequestDefaults& defaults) {
  unsigned char first_block[16 << 10];   // most documents fit and need no heap allocation
  boost::json::monotonic_resource memory(first_block, sizeof first_block);
  const auto document = json::parse_json(body, &memory);
  if (!document) return Problem{400, "the body is not valid JSON: " + document.error(), "", "invalid_json", 0};
  const boost::json::object* object = document->if_object();
  if (!object) return Problem{400, "the body must be a JSON object", "", "invalid_json", 0};

  RequestDraft draft;
  draft.parsed.request = std::make_shared<engine::Request>();
  draft.parsed.request->kind = kind_of(format);
  draft.request().sampling = defaults.sampling;
  draft.request().max_tokens = defaults.max_tokens;
  draft.format = format;
  if (format == Format::kNative) draft.request().logprobs = true;   // they have the ids of the answer's tokens
  draft.vocab_tokens = vocab_tokens;
  draft.unknown_fields = unknown_fields;
  for (const auto& member : *object)
    if (MaybeProblem problem = apply(draft, member.key(), member.value())) return std::move(*problem);
  if (MaybeProblem problem = finish(draft)) return std::move(*problem);
  return std::move(draft.parsed);
}

}   // namespace tensorcache::protocol
