// Samples the next token according to a request's parameters and the form of its answer.
#pragma once

#include <llama.h>

#include <memory>
#include <span>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/llama/answer_format.h"
#include "serving/llama/llama_model.h"

struct common_sampler;

namespace tensorcache::llama {

// One for each request. Not thread safe. Greedy without penalties or grammar is a plain argmax (~10 us for 50k tokens); everything else is
// llama.cpp's own chain of samplers, as in llama-server.
class Sampler {
 public:
  // `prompt`: its last tokens count for the penalties. Throws std::exception if the grammar cannot be used. COST: the grammar's parsing.
  Sampler(const LlamaModel& model, const engine::Request& request, const AnswerFormat& format, std::span<const llama_token> prompt);

  // `logits`: those of output `row` of the last llama_decode. Throws std::exception if the grammar has no next token.
  [[nodiscard]] llama_token sample(std::span<const float> logits, std::int32_t row);

  // The token's log-probability in the model's own distribution, before any sampling parameter, and the `top` likeliest.
  [[nodiscard]] engine::TokenLogprob logprob(std::span<const float> logits, llama_token token, int top) const;

 private:
  [[nodiscard]] llama_token greedy(std::span<const float> logits);

  struct Free {
    void operator()(common_sampler* sampler) const;
  };
  const LlamaModel& model_;
  std::unique_ptr<common_sampler, Free> chain_;     // none: argmax
  decltype(engine::Sampling::logit_bias) biases_;   // for argmax
  std::vector<float> biased_;
};

}   // namespace tensorcache::llama
