// Simulates a cache of one size and policy, without values, on a recording.
#pragma once

#include <cstdint>
#include <string>

#include "tools/simulate/recording.h"

namespace tensorcache::simulate {

struct Setting {
  std::string policy;       // of `tensorcache policies`, or "min"
  std::uint64_t size = 0;   // in what Recording::bytes() counts
  double hint_recall = 0;   // the share of finished conversations of which the cache is told
};

struct Outcome {
  std::uint64_t requests = 0, requests_hit = 0;   // all of it was there, or some of a prefix
  std::uint64_t accesses = 0, misses = 0;         // blocks; a miss is one that is not in the leading resident run
  std::uint64_t bytes = 0, missed_bytes = 0;
  std::uint64_t tokens = 0, missed_tokens = 0;   // of the prompts
  [[nodiscard]] double miss_ratio() const { return accesses == 0 ? 0 : static_cast<double>(misses) / static_cast<double>(accesses); }
};

// Which requests are the last of their conversation: no later one goes on from its last block. By
// request; a tool of hints.
[[nodiscard]] std::vector<bool> last_of_conversation(const Recording& recording);

// Replays all of it. `min`: Belady's, which knows what comes; it need not store what is not worth
// its place.
[[nodiscard]] Outcome replay(const Recording& recording, const Setting& setting, const std::vector<bool>& conversation_ends);

}   // namespace tensorcache::simulate
