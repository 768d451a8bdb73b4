#include "serving/model/context_size.h"

#include <algorithm>

namespace tensorcache::model {
namespace {

// llama.cpp rounds the context of each sequence up to this. A context that is no such multiple gets larger than the batch that was cut to
// fit it, and then a prompt between the two ends the process.
constexpr std::uint32_t kGrain = 256;
// Without --ctx-size: the most for one request, and what is not gone below however small the memory is.
constexpr std::uint32_t kMostByDefault = 32768, kLeastByDefault = 2048;
// Of the machine's memory, what the KV cache may become without --ctx-size.
constexpr std::uint64_t kMemoryShare = 4;
// Cells of all sequences together: llama.cpp keeps some 50 bytes for each, used or not.
constexpr std::uint32_t kMostCells = 1u << 19;

std::uint32_t rounded_up(std::uint32_t tokens) { return (tokens + kGrain - 1) / kGrain * kGrain; }

std::uint32_t part_of(std::uint32_t total, std::uint32_t sequences) { return rounded_up((total + sequences - 1) / sequences); }

// RETURNS the tokens for one request, and for all.
ContextSize default_size(const ContextNeeds& needs) {
  const std::uint64_t affordable = needs.memory_bytes / kMemoryShare / std::max<std::uint64_t>(1, needs.token_bytes);
  const std::uint64_t at_once = needs.shared ? 1 : needs.sequences;
  std::uint32_t each = std::min(kMostByDefault, needs.trained_tokens);
  while (each > kLeastByDefault && each * at_once > affordable) each /= 2;
  const std::uint64_t all = std::uint64_t{each} * needs.sequences;
  const std::uint64_t total = needs.shared ? std::clamp<std::uint64_t>(affordable, each, all) : all;
  return {static_cast<std::uint32_t>(total), each};
}

}   // namespace

ContextSize context_size(const ContextNeeds& needs) {
  ContextSize size = {needs.asked_tokens, needs.trained_tokens};
  if (needs.asked_tokens == 0) size = default_size(needs);
  const std::uint32_t part = part_of(size.total_tokens, needs.sequences);
  if (!needs.shared) return {part * needs.sequences, part};
  const std::uint32_t total = rounded_up(size.total_tokens);
  const std::uint32_t most = std::max(part, kMostCells / needs.sequences / kGrain * kGrain);
  return {total, std::min({total, most, std::max(part, rounded_up(size.sequence_tokens))})};
}

}   // namespace tensorcache::model
