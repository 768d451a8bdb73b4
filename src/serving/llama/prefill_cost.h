// Estimates the cost of the last prefill step of a prompt, to choose the fastest position to resume
// at.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tensorcache::llama {

// What the cost of a model's matrix products and of its attention follows from.
struct ModelSize {
  std::int32_t layers = 0, embedding = 0;
  std::uint64_t parameters = 0;
};

// ggml's flash attention on a CPU computes 64 queries at once, short of that one after the other at a fourth of the speed. So 64 tokens
// may cost less than 50. On a GPU, or without flash attention, nothing is assumed. Immutable.
class PrefillCost {
 public:
  PrefillCost(const ModelSize& model, bool attention_in_tiles);

  // How many of `cached` leading tokens to take over, so that the rest of `prompt` tokens costs least. 0 < `prompt` - `cached`.
  [[nodiscard]] std::size_t worth_taking_over(std::size_t cached, std::size_t prompt) const;

 private:
  // Of one step of `tokens` behind `depth` others, in what a token costs without its attention.
  [[nodiscard]] double step(std::size_t tokens, std::size_t depth) const;

  bool tiles_;
  double attention_share_;   // of a token, for each token before it, at the speed of the rest
};

}   // namespace tensorcache::llama
