// Tests only: counts look-ups in a cache's memory tier.
#pragma once

#include <cstdint>

#include "store/memory/memory_tier.h"
#include "testing/core/values.h"
#include "tensorcache/cache.h"

namespace tensorcache::testing {

// Stores a small value and holds it, to reach the tier. Exact while no other thread uses the cache.
class LookupCounter {
 public:
  explicit LookupCounter(Cache& cache) {
    static_cast<void>(cache.put(Key::of("lookup-counter"), std::string_view("x")));
    probe_ = cache.get(Key::of("lookup-counter"));
    restart();
  }
  void restart() { begin_ = now(); }
  // Since the last restart.
  [[nodiscard]] std::uint64_t count() const { return now() - begin_; }

 private:
  [[nodiscard]] std::uint64_t now() const { return memory::MemoryTier::tier_of(probe_).read_sections(); }
  Handle probe_;
  std::uint64_t begin_ = 0;
};

}   // namespace tensorcache::testing
