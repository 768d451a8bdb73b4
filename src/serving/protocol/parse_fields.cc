#include "serving/protocol/parse_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/core/units.h"
#include "serving/protocol/parse_answer_form.h"
#include "serving/protocol/parse_messages.h"
#include "serving/protocol/parse_sampling.h"
#include "serving/protocol/parse_tools.h"
#include "serving/protocol/parse_values.h"

namespace tensorcache::protocol {
namespace {

constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 1024;

MaybeProblem max_tokens(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const std::optional<std::int64_t> number = integer_of(value);
  if (!number || (*number < 1 && *number != -1)) return bad_field(text(name), text(name) + " must be an integer of at least 1, or -1 for no limit");
  const auto tokens = static_cast<std::int32_t>(std::min<std::int64_t>(*number, std::numeric_limits<std::int32_t>::max()));
  if (draft.max_tokens && *draft.max_tokens != tokens)
    return bad_field(text(name), "max_tokens, max_completion_tokens and n_predict are synonyms, but have different values");
  draft.max_tokens = draft.request().max_tokens = tokens;
  return std::nullopt;
}

MaybeProblem add_stop(RequestDraft& draft, const std::string& name, const boost::json::value& value) {
  const boost::json::string* string = value.if_string();
  if (!string || string->empty() || string->size() > kMaxStopBytes)
    return bad_field(name, name + " must be a string of 1 to " + std::to_string(kMaxStopBytes) + " bytes");
  draft.request().stop.emplace_back(*string);
  return std::nullopt;
}

MaybeProblem stop(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::array* array = value.if_array();
  if (!array) return add_stop(draft, text(name), value);
  if (array->size() > kMaxStops) return bad_field(text(name), "stop must have at most " + std::to_string(kMaxStops) + " strings");
  for (std::size_t i = 0; i < array->size(); ++i)
    if (MaybeProblem problem = add_stop(draft, "stop[" + std::to_string(i) + "]", (*array)[i])) return problem;
  return std::nullopt;
}

MaybeProblem logprobs(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  if (draft.chat()) return boolean(name, value, draft.request().logprobs);
  const std::optional<std::int64_t> number = integer_of(value);
  if (!number || *number < 0 || *number > 5) return bad_field(text(name), "logprobs must be an integer from 0 to 5");
  draft.request().logprobs = true;
  draft.request().top_logprobs = static_cast<std::int32_t>(*number);
  return std::nullopt;
}

MaybeProblem top_logprobs(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const std::optional<std::int64_t> number = integer_of(value);
  if (!number || *number < 0 || *number > 20) return bad_field(text(name), "top_logprobs must be an integer from 0 to 20");
  draft.top_logprobs = static_cast<std::int32_t>(*number);
  return std::nullopt;
}

MaybeProblem model(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  if (!value.is_string()) return bad_field(text(name), "model must be a string");
  draft.parsed.model = value.get_string();
  return std::nullopt;
}

MaybeProblem stream(RequestDraft& draft, std::string_view name, const boost::json::value& value) { return boolean(name, value, draft.parsed.stream); }

MaybeProblem stream_options(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::object* object = value.if_object();
  if (!object) return bad_field(text(name), "stream_options must be an object");
  draft.has_stream_options = true;
  for (const auto& member : *object) {
    const std::string param = "stream_options." + std::string(member.key());
    if (member.value().is_null()) continue;
    bool obfuscation = false;   // padding of stream chunks; this server never sends it
    const bool usage = member.key() == "include_usage";
    if (!usage && member.key() != "include_obfuscation") {
      if (draft.ignores(param)) continue;
      return bad_field(param, "unknown field " + param, "unknown_parameter");
    }
    if (MaybeProblem problem = boolean(param, member.value(), usage ? draft.parsed.include_usage : obfuscation)) return problem;
  }
  return std::nullopt;
}

// Parses seconds, or a text such as "10m".
MaybeProblem time_span(std::string_view param, const boost::json::value& value, std::chrono::milliseconds& out) {
  constexpr double kMaxSeconds = 365.0 * 24 * 3600;
  double seconds = -1;
  if (const auto number = number_of(value)) seconds = *number;
  if (const boost::json::string* words = value.if_string()) {
    if (const auto parsed = parse_duration(*words)) seconds = static_cast<double>((*parsed).count()) / 1000;
  }
  if (!(seconds >= 0 && seconds <= kMaxSeconds)) {
    return bad_field(text(param), text(param) + " must be a number of seconds or a string like \"10m\", at most one year");
  }
  out = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
  return std::nullopt;
}

MaybeProblem hint(RequestDraft& draft, std::string_view name, std::string_view param, const boost::json::value& value) {
  engine::Request& request = draft.request();
  if (name == "end_of_conversation") return boolean(param, value, request.ends_conversation);
  if (name == "no_store") return boolean(param, value, draft.parsed.no_store);
  if (name == "keep_for") return time_span(param, value, request.hints.keep_for);
  if (name == "expected_reuse") return time_span(param, value, request.hints.expected_reuse);
  if (name != "priority") return bad_field(text(param), "unknown field " + text(param), "unknown_parameter");
  const auto number = number_of(value);
  if (!number || *number < 0 || *number > 100 || *number != std::floor(*number)) {
    return bad_field(text(param), text(param) + " must be a whole number from 0 to 100");
  }
  request.hints.priority = static_cast<int>(*number);
  return std::nullopt;
}

// Hints: they change eviction, never the response.
MaybeProblem hints(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::object* object = value.if_object();
  if (!object) return bad_field(text(name), "tensorcache must be an object");
  for (const auto& member : *object) {
    const std::string param = "tensorcache." + std::string(member.key());
    if (member.value().is_null()) continue;
    if (MaybeProblem problem = hint(draft, member.key(), param, member.value())) return problem;
  }
  return std::nullopt;
}

// Accepts any value of a field that does not affect the response.
MaybeProblem ignore(RequestDraft&, std::string_view, const boost::json::value&) { return std::nullopt; }

MaybeProblem only_one(RequestDraft&, std::string_view n, const boost::json::value& v) { return only(integer_of(v) == 1, n, "1"); }
MaybeProblem only_false(RequestDraft&, std::string_view n, const boost::json::value& v) { return only(v.is_bool() && !v.get_bool(), n, "false"); }
MaybeProblem only_empty_text(RequestDraft&, std::string_view n, const boost::json::value& v) {
  return only(v.is_string() && v.get_string().empty(), n, "an empty string");
}
MaybeProblem only_empty_list(RequestDraft&, std::string_view n, const boost::json::value& v) {
  return only(v.is_array() && v.get_array().empty(), n, "an empty array");
}
MaybeProblem only_text_modality(RequestDraft&, std::string_view n, const boost::json::value& v) {
  const boost::json::array* array = v.if_array();
  return only(array && array->size() == 1 && (*array)[0].is_string() && (*array)[0].get_string() == "text", n, "[\"text\"]");
}
// Accepts "none" and "auto", which mean the same without tools.
MaybeProblem only_no_tool(RequestDraft&, std::string_view n, const boost::json::value& v) {
  return only(v.is_string() && (v.get_string() == "none" || v.get_string() == "auto"), n, "\"none\" or \"auto\"");
}

MaybeProblem only_zero(RequestDraft&, std::string_view n, const boost::json::value& v) { return only(number_of(v) == 0.0, n, "0"); }
MaybeProblem never(RequestDraft&, std::string_view n, const boost::json::value&) { return only(false, n, ""); }

MaybeProblem continue_final_message(RequestDraft& d, std::string_view n, const boost::json::value& v) { return boolean(n, v, d.continues); }
MaybeProblem add_generation_prompt(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  bool adds = true;
  MaybeProblem problem = boolean(name, value, adds);
  draft.adds_generation_prompt = adds;
  return problem;
}

enum class In : std::uint8_t { kBoth, kChat, kCompletion };
struct Field {
  std::string_view name;
  In in;
  ApplyField apply;
};

constexpr Field kFields[] = {
    {"messages", In::kChat, apply_messages},
    {"prompt", In::kCompletion, apply_prompt},
    {"model", In::kBoth, model},
    {"stream", In::kBoth, stream},
    {"max_tokens", In::kBoth, max_tokens},
    {"max_completion_tokens", In::kBoth, max_tokens},
    {"stop", In::kBoth, stop},
    {"logprobs", In::kBoth, logprobs},
    {"top_logprobs", In::kChat, top_logprobs},
    {"stream_options", In::kBoth, stream_options},
    {"tensorcache", In::kBoth, hints},
    {"n", In::kBoth, only_one},
    {"user", In::kBoth, ignore},
    {"metadata", In::kBoth, ignore},
    {"store", In::kBoth, ignore},
    {"service_tier", In::kBoth, ignore},
    {"safety_identifier", In::kBoth, ignore},
    {"prompt_cache_key", In::kBoth, ignore},
    {"prompt_cache_retention", In::kBoth, ignore},
    {"parallel_tool_calls", In::kChat, apply_parallel_tool_calls},
    {"tools", In::kChat, apply_tools},
    {"tool_choice", In::kChat, apply_tool_choice},
    {"response_format", In::kBoth, apply_response_format},
    {"modalities", In::kChat, only_text_modality},
    {"best_of", In::kCompletion, only_one},
    {"echo", In::kCompletion, only_false},
    {"suffix", In::kCompletion, only_empty_text},
    // llama-server's
    {"n_predict", In::kBoth, max_tokens},
    {"cache_prompt", In::kBoth, ignore},
    {"id_slot", In::kBoth, ignore},
    {"timings_per_token", In::kBoth, ignore},
    {"return_progress", In::kBoth, ignore},
    {"grammar", In::kBoth, apply_grammar},
    {"json_schema", In::kBoth, apply_json_schema},
    {"chat_template_kwargs", In::kChat, apply_template_kwargs},
    {"reasoning_effort", In::kChat, apply_reasoning_effort},
    {"reasoning_format", In::kChat, apply_reasoning_format},
    {"continue_final_message", In::kChat, continue_final_message},
    {"add_generation_prompt", In::kChat, add_generation_prompt},
    {"functions", In::kChat, only_empty_list},
    {"function_call", In::kChat, only_no_tool},
    {"audio", In::kChat, never},
    {"prediction", In::kChat, never},
    {"web_search_options", In::kChat, never},
    {"n_probs", In::kBoth, only_zero},
    {"t_max_predict_ms", In::kBoth, only_zero},
    {"lora", In::kBoth, only_empty_list},
};

}   // namespace

std::optional<Problem> apply_common_field(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  if (const ApplyField apply = sampling_field(name)) return apply(draft, name, value);
  const auto* const field = std::find_if(std::begin(kFields), std::end(kFields), [&](const Field& each) { return each.name == name; });
  return field->apply(draft, name, value);
}

std::optional<Problem> apply_field(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const In here = draft.chat() ? In::kChat : In::kCompletion;
  if (value.is_null()) return std::nullopt;
  if (const ApplyField apply = sampling_field(name)) return apply(draft, name, value);
  for (const Field& field : kFields) {
    if (field.name != name) continue;
    if (field.in == In::kBoth || field.in == here) return field.apply(draft, name, value);
    return bad_field(text(name), text(name) + " is not a field of " + (draft.chat() ? "chat completions" : "completions"), "unsupported_parameter");
  }
  if (draft.ignores(name)) return std::nullopt;
  return bad_field(text(name), "unknown field '" + text(name) + "'", "unknown_parameter");
}

}   // namespace tensorcache::protocol
