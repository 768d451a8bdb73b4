#include "serving/protocol/parse_request.h"

#include <boost/json/monotonic_resource.hpp>

#include <utility>

#include "base/json/json_document.h"
#include "serving/protocol/parse_fields.h"
#include "serving/protocol/parse_tools.h"

namespace tensorcache::protocol {
namespace {

using MaybeProblem = std::optional<Problem>;

MaybeProblem finish(RequestDraft& draft) {
  if (draft.chat() && !draft.has_messages) return bad_field("messages", "messages is missing", "missing_required_parameter");
  if (!draft.chat() && !draft.has_prompt) return bad_field("prompt", "prompt is missing", "missing_required_parameter");
  if (draft.has_stream_options && !draft.parsed.stream) return bad_field("stream_options", "stream_options is only allowed if stream is true");
  if (draft.top_logprobs) {
    if (!draft.request().logprobs) return bad_field("top_logprobs", "top_logprobs requires logprobs to be true");
    draft.request().top_logprobs = *draft.top_logprobs;
  }
  return check_tools(draft);
}

}   // namespace

std::variant<ParsedRequest, Problem> parse_request(engine::Request::Kind kind, std::string_view body, std::int32_t vocab_tokens,
                                                   UnknownFields unknown_fields) {
  unsigned char first_block[16 << 10];   // most documents fit and need no heap allocation
  boost::json::monotonic_resource memory(first_block, sizeof first_block);
  const auto document = json::parse_json(body, &memory);
  if (!document) return Problem{400, "the body is not valid JSON: " + document.error(), "", "invalid_json", 0};
  const boost::json::object* object = document->if_object();
  if (!object) return Problem{400, "the body must be a JSON object", "", "invalid_json", 0};

  RequestDraft draft;
  draft.parsed.request = std::make_shared<engine::Request>();
  draft.parsed.request->kind = kind;
  draft.vocab_tokens = vocab_tokens;
  draft.unknown_fields = unknown_fields;
  for (const auto& member : *object)
    if (MaybeProblem problem = apply_field(draft, member.key(), member.value())) return std::move(*problem);
  if (MaybeProblem problem = finish(draft)) return std::move(*problem);
  return std::move(draft.parsed);
}

}   // namespace tensorcache::protocol
