#include "serving/protocol/parse_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "base/core/units.h"
#include "serving/protocol/parse_messages.h"

namespace tensorcache::protocol {
namespace {

using MaybeProblem = std::optional<Problem>;

constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 1024;

std::string text(std::string_view name) { return std::string(name); }

std::optional<double> number_of(const boost::json::value& value) {
  if (value.is_double()) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  return std::nullopt;
}

// RETURNS an integer, also if written as 3.0; clamped to 64 bits.
std::optional<std::int64_t> integer_of(const boost::json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_uint64()) return std::numeric_limits<std::int64_t>::max();
  if (value.is_double()) {
    const double number = value.get_double();
    if (number == std::floor(number) && std::fabs(number) < 9e18) return static_cast<std::int64_t>(number);
  }
  return std::nullopt;
}

MaybeProblem number_in(std::string_view name, const boost::json::value& value, double low, double high, float& into) {
  const std::optional<double> number = number_of(value);
  if (!number || !(*number >= low && *number <= high)) {
    const auto shown = [](double bound) { return bound == std::floor(bound) ? std::to_string(static_cast<long>(bound)) : std::to_string(bound); };
    return bad_field(text(name), text(name) + " must be a number from " + shown(low) + " to " + shown(high));
  }
  into = static_cast<float>(*number);
  return std::nullopt;
}

MaybeProblem boolean(std::string_view name, const boost::json::value& value, bool& into) {
  if (!value.is_bool()) return bad_field(text(name), text(name) + " must be true or false");
  into = value.get_bool();
  return std::nullopt;
}

MaybeProblem temperature(RequestDraft& d, std::string_view n, const boost::json::value& v) {
  // Smaller temperatures select the likeliest token, as 0 does; dividing by them would overflow.
  constexpr float kMinTemperature = 1e-5f;
  float& into = d.request().sampling.temperature;
  MaybeProblem problem = number_in(n, v, 0, 2, into);
  if (into < kMinTemperature) into = 0;
  return problem;
}
MaybeProblem top_p(RequestDraft& d, std::string_view n, const boost::json::value& v) { return number_in(n, v, 0, 1, d.request().sampling.top_p); }
MaybeProblem min_p(RequestDraft& d, std::string_view n, const boost::json::value& v) { return number_in(n, v, 0, 1, d.request().sampling.min_p); }
MaybeProblem presence(RequestDraft& d, std::string_view n, const boost::json::value& v) {
  return number_in(n, v, -2, 2, d.request().sampling.presence_penalty);
}
MaybeProblem frequency(RequestDraft& d, std::string_view n, const boost::json::value& v) {
  return number_in(n, v, -2, 2, d.request().sampling.frequency_penalty);
}

MaybeProblem repeat(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const std::optional<double> number = number_of(value);
  if (!number || !(*number > 0 && *number <= 10)) return bad_field(text(name), text(name) + " must be a number above 0 and up to 10");
  draft.request().sampling.repeat_penalty = static_cast<float>(*number);
  return std::nullopt;
}

MaybeProblem top_k(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const std::optional<std::int64_t> number = integer_of(value);
  if (!number || *number < -1) return bad_field(text(name), text(name) + " must be an integer of at least 0 (0 or -1: all tokens)");
  draft.request().sampling.top_k = static_cast<std::int32_t>(std::clamp<std::int64_t>(*number, 0, std::numeric_limits<std::int32_t>::max()));
  return std::nullopt;
}

MaybeProblem seed(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  // llama.cpp takes 2^32 - 1 and -1 as "random seed". Larger numbers, which OpenAI allows, are
  // folded into 32 bits.
  constexpr std::uint64_t kRandom = 0xFFFF'FFFF;
  if (value.is_uint64()) {
    draft.request().sampling.seed = static_cast<std::uint32_t>(value.get_uint64() % kRandom);
    return std::nullopt;
  }
  const std::optional<std::int64_t> number = integer_of(value);
  if (!number) return bad_field(text(name), text(name) + " must be an integer");
  if (*number == -1 || *number == std::int64_t{kRandom})
    draft.request().sampling.seed.reset();
  else
    draft.request().sampling.seed = static_cast<std::uint32_t>(static_cast<std::uint64_t>(*number) % kRandom);
  return std::nullopt;
}

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

MaybeProblem logit_bias(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::object* object = value.if_object();
  if (!object) return bad_field(text(name), "logit_bias must be an object that maps token ids to biases");
  auto& biases = draft.request().sampling.logit_bias;
  for (const auto& member : *object) {
    const std::string key(member.key());
    const std::string param = "logit_bias." + key;
    std::int32_t token = -1;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), token);
    if (end.ec != std::errc{} || end.ptr != key.data() + key.size() || token < 0 || token >= draft.vocab_tokens)
      return bad_field(param, "logit_bias: '" + key + "' is not a token id of this model (0 to " + std::to_string(draft.vocab_tokens - 1) + ")");
    float bias = 0;
    if (MaybeProblem problem = number_in(param, member.value(), -100, 100, bias)) return problem;
    if (bias != 0.0f) biases.emplace_back(token, bias);
  }
  std::sort(biases.begin(), biases.end());
  for (std::size_t i = 1; i < biases.size(); ++i)   // "7" and "07" are two keys of one token
    if (biases[i - 1].first == biases[i].first) return bad_field(text(name), "logit_bias names token " + std::to_string(biases[i].first) + " twice");
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

MaybeProblem only(bool allowed, std::string_view name, std::string_view what) {
  if (allowed) return std::nullopt;
  return bad_field(text(name), text(name) + " is not supported" + (what.empty() ? "" : ", except as ") + text(what), "unsupported_parameter");
}

MaybeProblem only_one(RequestDraft&, std::string_view n, const boost::json::value& v) { return only(integer_of(v) == 1, n, "1"); }
MaybeProblem only_false(RequestDraft&, std::string_view n, const boost::json::value& v) { return only(v.is_bool() && !v.get_bool(), n, "false"); }
MaybeProblem only_empty_text(RequestDraft&, std::string_view n, const boost::json::value& v) {
  return only(v.is_string() && v.get_string().empty(), n, "an empty string");
}
MaybeProblem only_empty_list(RequestDraft&, std::string_view n, const boost::json::value& v) {
  return only(v.is_array() && v.get_array().empty(), n, "an empty array");
}
MaybeProblem only_text_format(RequestDraft&, std::string_view n, const boost::json::value& v) {
  const boost::json::object* object = v.if_object();
  const boost::json::value* type = object && object->size() == 1 ? object->if_contains("type") : nullptr;
  return only(type && type->is_string() && type->get_string() == "text", n, "{\"type\":\"text\"}");
}
MaybeProblem only_text_modality(RequestDraft&, std::string_view n, const boost::json::value& v) {
  const boost::json::array* array = v.if_array();
  return only(array && array->size() == 1 && (*array)[0].is_string() && (*array)[0].get_string() == "text", n, "[\"text\"]");
}
// Accepts "none" and "auto", which mean the same without tools.
MaybeProblem only_no_tool(RequestDraft&, std::string_view n, const boost::json::value& v) {
  return only(v.is_string() && (v.get_string() == "none" || v.get_string() == "auto"), n, "\"none\" or \"auto\"");
}

MaybeProblem only_empty_object(RequestDraft&, std::string_view n, const boost::json::value& v) {
  return only(v.is_object() && v.get_object().empty(), n, "an empty object");
}
MaybeProblem only_zero(RequestDraft&, std::string_view n, const boost::json::value& v) { return only(number_of(v) == 0.0, n, "0"); }
MaybeProblem only_unit(RequestDraft&, std::string_view n, const boost::json::value& v) { return only(number_of(v) == 1.0, n, "1"); }
MaybeProblem never(RequestDraft&, std::string_view n, const boost::json::value&) { return only(false, n, ""); }

enum class In : std::uint8_t { kBoth, kChat, kCompletion };
struct Field {
  std::string_view name;
  In in;
  MaybeProblem (*apply)(RequestDraft&, std::string_view, const boost::json::value&);
};

constexpr Field kFields[] = {
    {"messages", In::kChat, apply_messages},
    {"prompt", In::kCompletion, apply_prompt},
    {"model", In::kBoth, model},
    {"stream", In::kBoth, stream},
    {"temperature", In::kBoth, temperature},
    {"max_tokens", In::kBoth, max_tokens},
    {"max_completion_tokens", In::kBoth, max_tokens},
    {"seed", In::kBoth, seed},
    {"stop", In::kBoth, stop},
    {"top_p", In::kBoth, top_p},
    {"top_k", In::kBoth, top_k},
    {"min_p", In::kBoth, min_p},
    {"presence_penalty", In::kBoth, presence},
    {"frequency_penalty", In::kBoth, frequency},
    {"repeat_penalty", In::kBoth, repeat},
    {"logit_bias", In::kBoth, logit_bias},
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
    {"parallel_tool_calls", In::kChat, ignore},   // there are no tools
    {"tools", In::kChat, only_empty_list},
    {"tool_choice", In::kChat, only_no_tool},
    {"response_format", In::kChat, only_text_format},
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
    {"grammar", In::kBoth, only_empty_text},
    {"json_schema", In::kBoth, never},
    {"chat_template_kwargs", In::kChat, only_empty_object},
    {"reasoning_effort", In::kChat, never},
    {"functions", In::kChat, only_empty_list},
    {"function_call", In::kChat, only_no_tool},
    {"audio", In::kChat, never},
    {"prediction", In::kChat, never},
    {"web_search_options", In::kChat, never},
    {"mirostat", In::kBoth, only_zero},
    {"typical_p", In::kBoth, only_unit},
    {"top_n_sigma", In::kBoth, never},
    {"dry_multiplier", In::kBoth, only_zero},
    {"xtc_probability", In::kBoth, only_zero},
    {"dynatemp_range", In::kBoth, only_zero},
    {"ignore_eos", In::kBoth, only_false},
    {"samplers", In::kBoth, never},
    {"n_probs", In::kBoth, only_zero},
    {"t_max_predict_ms", In::kBoth, only_zero},
    {"lora", In::kBoth, only_empty_list},
};

}   // namespace

std::optional<Problem> apply_field(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const In here = draft.chat() ? In::kChat : In::kCompletion;
  if (value.is_null()) return std::nullopt;
  for (const Field& field : kFields) {
    if (field.name != name) continue;
    if (field.in == In::kBoth || field.in == here) return field.apply(draft, name, value);
    return bad_field(text(name), text(name) + " is not a field of " + (draft.chat() ? "chat completions" : "completions"), "unsupported_parameter");
  }
  if (draft.ignores(name)) return std::nullopt;
  return bad_field(text(name), "unknown field '" + text(name) + "'", "unknown_parameter");
}

}   // namespace tensorcache::protocol
