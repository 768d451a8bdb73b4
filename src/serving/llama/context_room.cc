#include "serving/llama/context_room.h"

#include <algorithm>
#include <numeric>

namespace tensorcache::llama {

std::size_t ContextRoom::touched_tokens() const { return std::accumulate(touched_.begin(), touched_.end(), std::size_t{0}); }

// Only as much as is needed: fresh pages cost a request more than used ones.
void ContextRoom::touch(std::size_t slot, std::size_t tokens, std::span<const std::size_t> in_use) {
  if (tokens <= touched_[slot]) return;
  touched_[slot] = tokens;
  const auto give_back = [&](std::size_t other) {
    if (other == slot || touched_[other] <= in_use[other] || touched_tokens() <= total_tokens_) return;
    if (give_back_(other, in_use[other])) touched_[other] = in_use[other];
  };
  for (std::size_t other = 0; other < touched_.size(); ++other) {
    if (in_use[other] == 0) give_back(other);
  }
  for (std::size_t other = 0; other < touched_.size(); ++other) give_back(other);
}

}   // namespace tensorcache::llama
