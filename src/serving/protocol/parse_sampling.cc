#include "serving/protocol/parse_sampling.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace tensorcache::protocol {
namespace {

constexpr std::int32_t kMaxLastTokens = 1 << 20;
constexpr std::size_t kMaxTextBiases = 1024, kMaxBiasBytes = 1024;

MaybeProblem temperature(RequestDraft& d, std::string_view n, const boost::json::value& v) {
  float& into = d.request().sampling.temperature;
  MaybeProblem problem = number_in(n, v, 0, 2, into);
  if (into < engine::kMinTemperature) into = 0;
  return problem;
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

// A token, or a text, all of whose tokens are meant.
MaybeProblem add_bias(RequestDraft& draft, const std::string& param, std::string_view key, bool is_text, const boost::json::value& value) {
  float bias = 0;
  if (value.is_bool() && !value.get_bool())
    bias = -std::numeric_limits<float>::infinity();
  else if (MaybeProblem problem = number_in(param, value, -100, 100, bias))
    return problem;
  std::int32_t token = -1;
  const auto end = std::from_chars(key.data(), key.data() + key.size(), token);
  const bool is_number = end.ec == std::errc{} && end.ptr == key.data() + key.size();
  if (is_number && !is_text) {
    if (token < 0 || token >= draft.vocab_tokens) {
      return bad_field(param,
                       "logit_bias: '" + text(key) + "' is not a token id of this model (0 to " + std::to_string(draft.vocab_tokens - 1) + ")");
    }
    if (bias != 0.0F) draft.request().sampling.logit_bias.emplace_back(token, bias);
  } else if (key.size() > kMaxBiasBytes || draft.parsed.text_biases.size() >= kMaxTextBiases) {
    return bad_field("logit_bias",
                     "logit_bias may name at most " + std::to_string(kMaxTextBiases) + " texts, of " + std::to_string(kMaxBiasBytes) + " bytes each");
  } else if (!key.empty() && bias != 0.0F) {
    draft.parsed.text_biases.emplace_back(key, bias);
  }
  return std::nullopt;
}

// An object with tokens, as in OpenAI's API, or an array of pairs, as in llama-server's.
MaybeProblem logit_bias(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  auto& biases = draft.request().sampling.logit_bias;
  if (const boost::json::object* object = value.if_object()) {
    for (const auto& member : *object) {
      const std::string key(member.key());
      if (MaybeProblem problem = add_bias(draft, "logit_bias." + key, key, false, member.value())) return problem;
    }
  } else if (const boost::json::array* array = value.if_array()) {
    for (std::size_t i = 0; i < array->size(); ++i) {
      const boost::json::array* pair = (*array)[i].if_array();
      const bool is_text = pair && pair->size() == 2 && (*pair)[0].is_string();
      const std::optional<std::int64_t> token = pair && pair->size() == 2 ? integer_of((*pair)[0]) : std::nullopt;
      if (!is_text && !token) return bad_field(at(name, i), at(name, i) + " must be a pair of a token id or a text, and a bias");
      const std::string key = is_text ? std::string((*pair)[0].get_string()) : std::to_string(*token);
      if (MaybeProblem problem = add_bias(draft, at(name, i), key, is_text, (*pair)[1])) return problem;
    }
  } else {
    return bad_field(text(name), "logit_bias must be an object that maps token ids to biases, or an array of pairs");
  }
  std::sort(biases.begin(), biases.end());
  for (std::size_t i = 1; i < biases.size(); ++i) {   // "7" and "07" are two keys of one token
    if (biases[i - 1].first != biases[i].first) continue;
    if (biases[i - 1].second != biases[i].second)
      return bad_field(text(name), "logit_bias names token " + std::to_string(biases[i].first) + " twice");
  }
  biases.erase(std::unique(biases.begin(), biases.end()), biases.end());
  return std::nullopt;
}

// Numbers whose range is all there is to check.
template <float engine::Sampling::* kMember, int kLow, int kHigh>
MaybeProblem number(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  return number_in(name, value, kLow, kHigh, draft.request().sampling.*kMember);
}
template <std::int32_t engine::Sampling::* kMember, std::int32_t kLow, std::int32_t kHigh>
MaybeProblem integer(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  return integer_in(name, value, kLow, kHigh, draft.request().sampling.*kMember);
}

MaybeProblem ignore_eos(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  return boolean(name, value, draft.request().sampling.ignore_eos);
}

MaybeProblem dry_base(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  return number_in(name, value, 1, 100, draft.request().sampling.dry_base);
}

MaybeProblem texts(std::string_view name, const boost::json::value& value, std::size_t most, std::vector<std::string>& into) {
  constexpr std::size_t kMaxBytes = 64;
  const boost::json::array* array = value.if_array();
  if (!array || array->size() > most) return bad_field(text(name), text(name) + " must be an array of at most " + std::to_string(most) + " strings");
  into.clear();
  for (std::size_t i = 0; i < array->size(); ++i) {
    const boost::json::string* string = (*array)[i].if_string();
    if (!string || string->empty() || string->size() > kMaxBytes) {
      return bad_field(at(name, i), at(name, i) + " must be a string of 1 to " + std::to_string(kMaxBytes) + " bytes");
    }
    into.emplace_back(*string);
  }
  return std::nullopt;
}

MaybeProblem dry_breakers(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  return texts(name, value, 16, draft.request().sampling.dry_sequence_breakers);
}

MaybeProblem samplers(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  constexpr std::string_view kNames[] = {"penalties", "dry", "top_n_sigma", "top_k", "typ_p", "typical_p", "top_p", "min_p", "xtc", "temperature"};
  std::vector<std::string>& names = draft.request().sampling.samplers;
  if (MaybeProblem problem = texts(name, value, std::size(kNames), names)) return problem;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (std::find(std::begin(kNames), std::end(kNames), names[i]) != std::end(kNames)) continue;
    std::string all;
    for (const std::string_view known : kNames) all += (all.empty() ? "" : ", ") + text(known);
    return bad_field(at(name, i), at(name, i) + " is not one of " + all);
  }
  return std::nullopt;
}

struct Field {
  std::string_view name;
  ApplyField apply;
};

using S = engine::Sampling;
constexpr Field kFields[] = {
    {"temperature", temperature},
    {"seed", seed},
    {"top_p", number<&S::top_p, 0, 1>},
    {"top_k", top_k},
    {"min_p", number<&S::min_p, 0, 1>},
    {"presence_penalty", number<&S::presence_penalty, -2, 2>},
    {"frequency_penalty", number<&S::frequency_penalty, -2, 2>},
    {"repeat_penalty", repeat},
    {"repeat_last_n", integer<&S::repeat_last_n, 0, kMaxLastTokens>},
    {"logit_bias", logit_bias},
    {"typical_p", number<&S::typical_p, 0, 1>},
    {"top_n_sigma", number<&S::top_n_sigma, -1, 100>},
    {"xtc_probability", number<&S::xtc_probability, 0, 1>},
    {"xtc_threshold", number<&S::xtc_threshold, 0, 1>},
    {"dynatemp_range", number<&S::dynatemp_range, 0, 2>},
    {"dynatemp_exponent", number<&S::dynatemp_exponent, 0, 100>},
    {"dry_multiplier", number<&S::dry_multiplier, 0, 100>},
    {"dry_base", dry_base},
    {"dry_allowed_length", integer<&S::dry_allowed_length, 0, kMaxLastTokens>},
    {"dry_penalty_last_n", integer<&S::dry_penalty_last_n, 0, kMaxLastTokens>},
    {"dry_sequence_breakers", dry_breakers},
    {"mirostat", integer<&S::mirostat, 0, 2>},
    {"mirostat_tau", number<&S::mirostat_tau, 0, 100>},
    {"mirostat_eta", number<&S::mirostat_eta, 0, 1>},
    {"min_keep", integer<&S::min_keep, 0, kMaxLastTokens>},
    {"ignore_eos", ignore_eos},
    {"samplers", samplers},
};

}   // namespace

ApplyField sampling_field(std::string_view name) {
  const auto found = std::find_if(std::begin(kFields), std::end(kFields), [&](const Field& field) { return field.name == name; });
  return found == std::end(kFields) ? nullptr : found->apply;
}

}   // namespace tensorcache::protocol
