// The size of the context: in all, and for one request.
#pragma once

#include <cstdint>

namespace tensorcache::model {

struct ContextNeeds {
  std::uint32_t asked_tokens = 0;     // in all; 0: what the model was trained for, as far as the memory goes
  std::uint32_t trained_tokens = 0;   // of the model
  std::uint32_t sequences = 1;        // requests that run at once
  bool shared = false;                // one request may use what the others do not; else each has an equal part
  std::uint64_t token_bytes = 1;      // K/V of a token
  std::uint64_t memory_bytes = 0;     // of the machine
};

struct ContextSize {
  std::uint32_t total_tokens = 0;      // what all sequences hold at once, at most
  std::uint32_t sequence_tokens = 0;   // what one holds, at most
};

// RETURNS sizes in multiples of what llama.cpp rounds each sequence up to. The same needs give the same sizes.
[[nodiscard]] ContextSize context_size(const ContextNeeds& needs);

}   // namespace tensorcache::model
