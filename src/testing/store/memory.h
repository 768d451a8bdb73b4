// Tests only: what tests of the memory tier and of the cache share.
#pragma once

#include <cstdint>

#include "testing/core/values.h"
#include "tensorcache/cache.h"

namespace tensorcache::testing {

inline std::uint64_t entries(const Stats& stats) {
  std::uint64_t sum = 0;
  for (const KindStats& kind : stats.kinds) sum += kind.entries;
  return sum;
}

}   // namespace tensorcache::testing
