#include "serving/llama/prefill_cost.h"

namespace tensorcache::llama {
namespace {

constexpr std::size_t kTile = 64;   // GGML_FA_TILE_Q

// Measured with SmolLM2 135M Q4_1 at depths of 1,000 and 7,800, against the speed of its matrix products (docs/decisions/0005).
constexpr double kTiled = 1.5, kRowByRow = 2.7;

}   // namespace

PrefillCost::PrefillCost(const ModelSize& model, bool attention_in_tiles) : tiles_(attention_in_tiles) {
  const double attention = 4.0 * model.layers * model.embedding;
  attention_share_ = attention / (2.0 * static_cast<double>(model.parameters));
}

double PrefillCost::step(std::size_t tokens, std::size_t depth) const {
  const bool tiled = tokens >= kTile;
  const double attention = (tiled ? kTiled : kRowByRow) * attention_share_ * static_cast<double>(depth + tokens);
  return static_cast<double>(tokens) * (1 + attention);
}

std::size_t PrefillCost::worth_taking_over(std::size_t cached, std::size_t prompt) const {
  if (!tiles_ || prompt < kTile || prompt - cached >= kTile) return cached;
  return step(kTile, prompt - kTile) < step(prompt - cached, cached) ? prompt - kTile : cached;
}

}   // namespace tensorcache::llama
