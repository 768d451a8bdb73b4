#include "serving/protocol/native_json.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "serving/protocol/json_members.h"

namespace tensorcache::protocol {
namespace {

void append_bool(std::string& out, std::string_view name, bool value) {
  out += ",\"";
  out += name;
  out += value ? "\":true" : "\":false";
}

void append_float(std::string& out, std::string_view name, float value) {
  out += ",\"";
  out += name;
  out += "\":";
  json::append_json_number(out, value);
}

void append_candidate(std::string& out, const engine::TokenLogprob::Candidate& candidate) {
  out += "{\"id\":";
  json::append_json_number(out, candidate.id);
  append_text(out, "token", candidate.bytes);
  out += ",\"bytes\":";
  append_bytes(out, candidate.bytes);
  append_float(out, "logprob", candidate.logprob);
}

void append_probabilities(std::string& out, const engine::TokenLogprob& token) {
  append_candidate(out, token.token);
  out += ",\"top_logprobs\":[";
  for (std::size_t i = 0; i < token.top.size(); ++i) {
    if (i > 0) out += ',';
    append_candidate(out, token.top[i]);
    out += '}';
  }
  out += "]}";
}

void append_ids(std::string& out, const engine::Delta& delta) {
  for (const engine::TokenLogprob& token : delta.logprobs) {
    if (!out.empty()) out += ',';
    json::append_json_number(out, token.token.id);
  }
}

// A token that may never be chosen has null, as JSON has no infinity.
void append_biases(std::string& out, const engine::Sampling& sampling) {
  out += ",\"logit_bias\":[";
  bool first = true;
  for (const auto& [token, bias] : sampling.logit_bias) {
    out += std::exchange(first, false) ? "{\"token\":" : ",{\"token\":";
    json::append_json_number(out, token);
    out += ",\"bias\":";
    if (std::isinf(bias))
      out += "null";
    else
      json::append_json_number(out, bias);
    out += '}';
  }
  out += ']';
}

float per_second(std::int32_t count, float ms) { return count > 0 && ms > 0 ? 1000.0F * static_cast<float>(count) / ms : 0.0F; }
float per_token(std::int32_t count, float ms) { return count > 0 ? ms / static_cast<float>(count) : 0.0F; }

// As llama-server's. Of what came from the cache nothing was computed, and the times are 0.
void append_timings(std::string& out, const ReplyEnd& end) {
  const auto ms_of = [](std::chrono::microseconds time) { return static_cast<float>(time.count()) / 1000.0F; };
  const std::int32_t prefilled = end.usage.prompt_tokens - end.usage.cached_tokens, decoded = end.usage.completion_tokens;
  const float prefill = ms_of(end.prefill), decode = ms_of(end.decode);
  out += ",\"timings\":{\"cache_n\":";
  json::append_json_number(out, end.usage.cached_tokens);
  append_number(out, "prompt_n", prefilled);
  append_float(out, "prompt_ms", prefill);
  append_float(out, "prompt_per_token_ms", per_token(prefilled, prefill));
  append_float(out, "prompt_per_second", per_second(prefilled, prefill));
  append_number(out, "predicted_n", decoded);
  append_float(out, "predicted_ms", decode);
  append_float(out, "predicted_per_token_ms", per_token(decoded, decode));
  append_float(out, "predicted_per_second", per_second(decoded - 1, decode));   // the first comes with the prefill
  out += '}';
}

std::string_view stop_type(const ReplyEnd& end) {
  if (end.reason == engine::FinishReason::kLength) return "limit";
  return end.stop_sequence.empty() ? "eos" : "word";
}

// RETURNS the members that `fields` name, under the names that they have there.
std::string selected(const std::string& object, const std::vector<std::string>& fields) {
  const boost::json::value whole = boost::json::parse(object);
  boost::json::object some;
  for (const std::string& field : fields) {
    const boost::json::value* value = &whole;
    for (std::size_t begin = 0; value != nullptr && begin <= field.size();) {
      const std::size_t end = std::min(field.find('/', begin), field.size());
      const boost::json::object* inside = value->if_object();
      value = inside ? inside->if_contains(field.substr(begin, end - begin)) : nullptr;
      begin = end + 1;
    }
    if (value != nullptr) some[field] = *value;
  }
  return boost::json::serialize(some);
}

}   // namespace

std::string generation_settings_json(const engine::Request& request) {
  constexpr std::int64_t kRandomSeed = std::numeric_limits<std::uint32_t>::max();
  const engine::Sampling& s = request.sampling;
  std::string out = "{\"seed\":";
  json::append_json_number(out, s.seed ? std::int64_t{*s.seed} : kRandomSeed);
  append_number(out, "n_predict", request.max_tokens);
  append_number(out, "max_tokens", request.max_tokens);
  append_float(out, "temperature", s.temperature);
  append_float(out, "dynatemp_range", s.dynatemp_range);
  append_float(out, "dynatemp_exponent", s.dynatemp_exponent);
  append_number(out, "top_k", s.top_k);
  append_float(out, "top_p", s.top_p);
  append_float(out, "min_p", s.min_p);
  append_float(out, "top_n_sigma", s.top_n_sigma);
  append_float(out, "xtc_probability", s.xtc_probability);
  append_float(out, "xtc_threshold", s.xtc_threshold);
  append_float(out, "typical_p", s.typical_p);
  append_number(out, "repeat_last_n", s.repeat_last_n);
  append_float(out, "repeat_penalty", s.repeat_penalty);
  append_float(out, "presence_penalty", s.presence_penalty);
  append_float(out, "frequency_penalty", s.frequency_penalty);
  append_float(out, "dry_multiplier", s.dry_multiplier);
  append_float(out, "dry_base", s.dry_base);
  append_number(out, "dry_allowed_length", s.dry_allowed_length);
  append_number(out, "dry_penalty_last_n", s.dry_penalty_last_n);
  append_texts(out, "dry_sequence_breakers", s.dry_sequence_breakers);
  append_number(out, "mirostat", s.mirostat);
  append_float(out, "mirostat_tau", s.mirostat_tau);
  append_float(out, "mirostat_eta", s.mirostat_eta);
  append_texts(out, "stop", request.stop);
  append_bool(out, "ignore_eos", s.ignore_eos);
  append_biases(out, s);
  append_number(out, "n_probs", request.top_logprobs);
  append_number(out, "min_keep", s.min_keep);
  append_text(out, "grammar", request.grammar);
  append_texts(out, "samplers", s.samplers);
  out += '}';
  return out;
}

void NativeAnswer::add(const engine::Delta& delta) {
  tokens_ += static_cast<std::int32_t>(delta.logprobs.size());
  has_new_line_ = has_new_line_ || delta.text.find('\n') != std::string::npos;
  append_ids(ids_, delta);
  if (!wants_probabilities()) return;
  for (const engine::TokenLogprob& token : delta.logprobs) {
    if (!probabilities_.empty()) probabilities_ += ',';
    append_probabilities(probabilities_, token);
  }
}

void NativeAnswer::append_part(std::string& out, const engine::Delta& delta, std::int32_t prompt_tokens) const {
  std::string ids;
  append_ids(ids, delta);
  out += R"({"index":0)";
  append_text(out, "content", delta.text);
  out += ",\"tokens\":[" + ids + "],\"stop\":false,\"id_slot\":0";
  append_number(out, "tokens_predicted", tokens_);
  append_number(out, "tokens_evaluated", prompt_tokens);
  if (wants_probabilities() && !delta.logprobs.empty()) {
    out += ",\"completion_probabilities\":[";
    for (std::size_t i = 0; i < delta.logprobs.size(); ++i) {
      if (i > 0) out += ',';
      append_probabilities(out, delta.logprobs[i]);
    }
    out += ']';
  }
  out += '}';
}

void NativeAnswer::append_end(std::string& out, const ReplyEnd& end, std::string_view content, std::string_view tokens,
                              bool with_probabilities) const {
  const engine::Request& request = *head_.request;
  const bool full = end.reason == engine::FinishReason::kLength && end.usage.completion_tokens != request.max_tokens;
  out += R"({"index":0,"content":")";
  out += content;
  out += "\",\"tokens\":[";
  out += tokens;
  out += "],\"id_slot\":0,\"stop\":true";
  append_text(out, "model", head_.model);
  append_number(out, "tokens_predicted", end.usage.completion_tokens);
  append_number(out, "tokens_evaluated", end.usage.prompt_tokens);
  out += ",\"generation_settings\":" + generation_settings_json(request);
  append_text(out, "prompt", request.prompt);
  append_bool(out, "has_new_line", has_new_line_);
  append_bool(out, "truncated", full);
  append_text(out, "stop_type", stop_type(end));
  append_text(out, "stopping_word", end.stop_sequence);
  append_number(out, "tokens_cached", end.usage.cached_tokens);
  append_timings(out, end);
  if (with_probabilities && wants_probabilities()) out += ",\"completion_probabilities\":[" + probabilities_ + ']';
  out += '}';
}

void NativeReply::add(const engine::Delta& delta) {
  json::append_json_escaped(content_, delta.text);
  answer_.add(delta);
}

std::string NativeReply::finish(const ReplyEnd& end) {
  std::string out;
  out.reserve(content_.size() + 4096);
  answer_.append_end(out, end, content_, head_.native->return_tokens ? std::string_view(answer_.ids()) : std::string_view(), true);
  return head_.native->response_fields.empty() ? out : selected(out, head_.native->response_fields);
}

void NativeStream::begin(std::string&, const engine::Usage& usage) { prompt_tokens_ = usage.prompt_tokens; }

void NativeStream::delta(std::string& out, const engine::Delta& delta) {
  if (delta.empty()) return;
  answer_.add(delta);
  out += "data: ";
  answer_.append_part(out, delta, prompt_tokens_);
  out += "\n\n";
}

void NativeStream::finish(std::string& out, const ReplyEnd& end) {
  std::string last;
  answer_.append_end(last, end, {}, {}, false);
  out += "data: ";
  out += head_.native->response_fields.empty() ? last : selected(last, head_.native->response_fields);
  out += "\n\n";
}

void NativeStream::fail(std::string& out, const Problem& problem) { out += "data: " + problem_json(problem) + "\n\n"; }

}   // namespace tensorcache::protocol
