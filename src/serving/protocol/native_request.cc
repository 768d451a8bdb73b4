#include "serving/protocol/native_request.h"

#include <string>

#include "serving/protocol/parse_fields.h"
#include "serving/protocol/parse_messages.h"

namespace tensorcache::protocol {
namespace {

constexpr std::int32_t kMaxProbabilities = 20;
constexpr std::size_t kMaxResponseFields = 64, kMaxFieldBytes = 128;

// Also an object with the prompt and media, of which there must be none.
MaybeProblem prompt(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::object* object = value.if_object();
  if (!object) return apply_prompt(draft, name, value);
  const std::string media = text(name) + ".multimodal_data", words = text(name) + ".prompt_string";
  const boost::json::value* data = object->if_contains("multimodal_data");
  const bool none = !data || data->is_null() || (data->is_array() && data->get_array().empty());
  if (!none) return bad_field(media, media + " is not supported: this model reads text only", "unsupported_parameter");
  const boost::json::value* string = object->if_contains("prompt_string");
  if (!string || !string->is_string()) return bad_field(words, words + " must be a string");
  return apply_prompt(draft, words, *string);
}

MaybeProblem probabilities(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  return integer_in(name, value, 0, kMaxProbabilities, draft.request().top_logprobs);
}

MaybeProblem response_fields(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::array* array = value.if_array();
  if (!array || array->size() > kMaxResponseFields) {
    return bad_field(text(name), text(name) + " must be an array of at most " + std::to_string(kMaxResponseFields) + " strings");
  }
  for (std::size_t i = 0; i < array->size(); ++i) {
    const boost::json::string* field = (*array)[i].if_string();
    if (!field || field->empty() || field->size() > kMaxFieldBytes) {
      return bad_field(at(name, i), at(name, i) + " must be a string of 1 to " + std::to_string(kMaxFieldBytes) + " bytes");
    }
    draft.parsed.native.response_fields.emplace_back(*field);
  }
  return std::nullopt;
}

}   // namespace

// The context is never shifted, so how much of it a shift keeps changes nothing.
MaybeProblem apply_native_field(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  if (value.is_null() || name == "n_keep" || name == "n_discard") return std::nullopt;
  if (name == "prompt") return prompt(draft, name, value);
  if (name == "n_probs" || name == "logprobs") return probabilities(draft, name, value);
  if (name == "return_tokens") return boolean(name, value, draft.parsed.native.return_tokens);
  if (name == "response_fields") return response_fields(draft, name, value);
  if (name == "post_sampling_probs") return only(value.is_bool() && !value.get_bool(), name, "false");
  if (name == "n_indent") return only(number_of(value) == 0.0, name, "0");
  return apply_field(draft, name, value);
}

}   // namespace tensorcache::protocol
