#include "serving/llama/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace tensorcache::llama {
namespace {

constexpr std::int32_t kPenaltyLastTokens = 64;   // llama-server's --repeat-last-n

bool has_penalties(const engine::Sampling& s) { return s.repeat_penalty != 1.0f || s.presence_penalty != 0.0f || s.frequency_penalty != 0.0f; }

llama_sampler* make_chain(const LlamaModel& model, const engine::Sampling& s) {
  llama_sampler_chain_params params = llama_sampler_chain_default_params();
  params.no_perf = true;
  llama_sampler* chain = llama_sampler_chain_init(params);
  if (!s.logit_bias.empty()) {
    std::vector<llama_logit_bias> biases;
    for (const auto& [token, bias] : s.logit_bias) biases.push_back({token, bias});
    llama_sampler_chain_add(chain, llama_sampler_init_logit_bias(model.vocab_tokens(), static_cast<std::int32_t>(biases.size()), biases.data()));
  }
  if (has_penalties(s)) {
    llama_sampler_chain_add(
        chain, llama_sampler_init_penalties(model.vocab_tokens(), kPenaltyLastTokens, s.repeat_penalty, s.frequency_penalty, s.presence_penalty));
  }
  if (s.greedy()) {
    llama_sampler_chain_add(chain, llama_sampler_init_greedy());
    return chain;
  }
  if (s.top_k > 0) llama_sampler_chain_add(chain, llama_sampler_init_top_k(s.top_k));
  if (s.top_p < 1.0f) llama_sampler_chain_add(chain, llama_sampler_init_top_p(s.top_p, 1));
  if (s.min_p > 0.0f) llama_sampler_chain_add(chain, llama_sampler_init_min_p(s.min_p, 1));
  llama_sampler_chain_add(chain, llama_sampler_init_temp(s.temperature));
  llama_sampler_chain_add(chain, llama_sampler_init_dist(s.seed ? *s.seed : std::random_device{}()));
  return chain;
}

}   // namespace

Sampler::Sampler(const LlamaModel& model, const engine::Request& request, std::span<const llama_token> prompt) : model_(model) {
  const engine::Sampling& s = request.sampling;
  if (s.greedy() && !has_penalties(s)) {
    biases_ = s.logit_bias;
    return;
  }
  chain_.reset(make_chain(model, s));
  candidates_.resize(static_cast<std::size_t>(model.vocab_tokens()));
  const std::size_t last = std::min<std::size_t>(prompt.size(), kPenaltyLastTokens);
  for (const llama_token token : prompt.last(last)) llama_sampler_accept(chain_.get(), token);
}

llama_token Sampler::sample(std::span<const float> logits) {
  if (!chain_) return greedy(logits);
  for (std::size_t i = 0; i < candidates_.size(); ++i) candidates_[i] = {static_cast<llama_token>(i), logits[i], 0.0f};
  llama_token_data_array array{candidates_.data(), candidates_.size(), -1, false};
  llama_sampler_apply(chain_.get(), &array);
  const llama_token token = array.data[array.selected].id;
  llama_sampler_accept(chain_.get(), token);
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
