// Samples the next token from logits according to a request's parameters.
#pragma once

#include <llama.h>

#include <memory>
#include <span>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/llama/llama_model.h"

namespace tensorcache::llama {

// One for each running request. Not thread safe. Greedy without penalties is a plain argmax (~10 us for 50k tokens).
class Sampler {
 public:
  // `prompt`: its last tokens count for the penalties, as in llama-server.
  Sampler(const LlamaModel& model, const engine::Request& request, std::span<const llama_token> prompt);

  [[nodiscard]] llama_token sample(std::span<const float> logits);

  // The token's log-probability in the model's own distribution, before any sampling parameter, and the `top` likeliest.
  [[nodiscard]] engine::TokenLogprob logprob(std::span<const float> logits, llama_token token, int top) const;

 private:
  [[nodiscard]] llama_token greedy(std::span<const float> logits);

  const LlamaModel& model_;
  std::unique_ptr<llama_sampler, LlamaDeleter> chain_;   // none: argmax
  decltype(engine::Sampling::logit_bias) biases_;        // for argmax
  std::vector<float> biased_;
  std::vector<llama_token_data> candidates_;
};

}   // namespace tensorcache::llama
