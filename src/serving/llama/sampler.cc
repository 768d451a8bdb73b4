#include "serving/llama/sampler.h"

#include <sampling.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace tensorcache::llama {
namespace {

// Whether the likeliest token is the answer's next one.
bool is_argmax(const engine::Sampling& s, const AnswerFormat& format) {
  const bool penalties = s.repeat_penalty != 1.0f || s.presence_penalty != 0.0f || s.frequency_penalty != 0.0f || s.dry_multiplier != 0.0f;
  return s.greedy() && !penalties && s.mirostat == 0 && s.samplers.empty() && !s.ignore_eos && format.grammar.empty();
}

void set_samplers(const engine::Sampling& s, common_params_sampling& params) {
  params.temp = s.temperature;
  params.top_p = s.top_p;
  params.min_p = s.min_p;
  params.top_k = s.top_k;
  params.seed = s.seed.value_or(LLAMA_DEFAULT_SEED);
  params.penalty_present = s.presence_penalty;
  params.penalty_freq = s.frequency_penalty;
  params.penalty_repeat = s.repeat_penalty;
  params.penalty_last_n = s.repeat_last_n;
  params.typ_p = s.typical_p;
  params.top_n_sigma = s.top_n_sigma;
  params.xtc_probability = s.xtc_probability;
  params.xtc_threshold = s.xtc_threshold;
  params.dynatemp_range = s.dynatemp_range;
  params.dynatemp_exponent = s.dynatemp_exponent;
  params.dry_multiplier = s.dry_multiplier;
  params.dry_base = s.dry_base;
  params.dry_allowed_length = s.dry_allowed_length;
  params.dry_penalty_last_n = s.dry_penalty_last_n;
  params.dry_sequence_breakers = s.dry_sequence_breakers;
  params.mirostat = s.mirostat;
  params.mirostat_tau = s.mirostat_tau;
  params.mirostat_eta = s.mirostat_eta;
  params.min_keep = s.min_keep;
  params.no_perf = true;
  if (!s.samplers.empty()) params.samplers = common_sampler_types_from_names(s.samplers);
}

void set_biases(const LlamaModel& model, const engine::Sampling& s, common_params_sampling& params) {
  for (const auto& [token, bias] : s.logit_bias) params.logit_bias.push_back({token, bias});
  if (!s.ignore_eos) return;
  for (llama_token token = 0; token < model.vocab_tokens(); ++token) {
    if (llama_vocab_is_eog(model.vocab(), token)) params.logit_bias.push_back({token, -INFINITY});
  }
}

void set_format(const AnswerFormat& format, common_params_sampling& params) {
  params.grammar = format.grammar;
  params.grammar_lazy = format.grammar_lazy;
  params.grammar_triggers = format.triggers;
  params.preserved_tokens = format.preserved_tokens;
  params.generation_prompt = format.generation_prompt;
  params.reasoning_budget_start = format.reasoning_start;
  params.reasoning_budget_end = format.reasoning_ends;
}

}   // namespace

void Sampler::Free::operator()(common_sampler* sampler) const { common_sampler_free(sampler); }

Sampler::Sampler(const LlamaModel& model, const engine::Request& request, const AnswerFormat& format, std::span<const llama_token> prompt)
    : model_(model) {
  const engine::Sampling& s = request.sampling;
  if (is_argmax(s, format)) {
    biases_ = s.logit_bias;
    return;
  }
  common_params_sampling params;
  set_samplers(s, params);
  set_biases(model, s, params);
  set_format(format, params);
  chain_.reset(common_sampler_init(model.model(), params));
  const auto looked_at = static_cast<std::size_t>(std::max({s.repeat_last_n, s.dry_penalty_last_n, params.n_prev}));
  for (const llama_token token : prompt.last(std::min(prompt.size(), looked_at))) common_sampler_accept(chain_.get(), token, false);
}

llama_token Sampler::sample(std::span<const float> logits, std::int32_t row) {
  if (!chain_) return greedy(logits);
  const llama_token token = common_sampler_sample(chain_.get(), model_.context(), row);
  common_sampler_accept(chain_.get(), token, true);
  return token;
}

llama_token Sampler::greedy(std::span<const float> logits) {
  if (!biases_.empty()) {
    biased_.assign(logits.begin(), logits.end());
    for (const auto& [token, bias] : biases_) biased_[static_cast<std::size_t>(token)] += bias;
    logits = biased_;
  }
  return static_cast<llama_token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

engine::TokenLogprob Sampler::logprob(std::span<const float> logits, llama_token token, int top) const {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - highest));
  const double log_sum = static_cast<double>(highest) + std::log(sum);
  const auto candidate = [&](llama_token id) {
    return engine::TokenLogprob::Candidate{id, model_.piece(id),
                                           static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(id)]) - log_sum)};
  };
  engine::TokenLogprob result{candidate(token), {}};
  if (top > 0) {
    std::vector<llama_token> ids(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
    const auto count = std::min<std::size_t>(static_cast<std::size_t>(top), ids.size());
    std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(), [&](llama_token a, llama_token b) {
      const float left = logits[static_cast<std::size_t>(a)], right = logits[static_cast<std::size_t>(b)];
      return left != right ? left > right : a < b;
    });
    for (std::size_t i = 0; i < count; ++i) result.top.push_back(candidate(ids[i]));
  }
  return result;
}

}   // namespace tensorcache::llama
