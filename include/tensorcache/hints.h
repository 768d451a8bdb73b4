// Hints: what a caller knows about the future use of values. They change the order of eviction,
// never what is served.
//
//   tensorcache::Cache cache({.capacity_bytes = 1 << 30});
//   using std::chrono_literals::operator""min;
//   (void)cache.put(key, text, {.hints = {.priority = 80, .keep_for = 10min}});
#pragma once

#include <chrono>

namespace tensorcache {

struct Hints {
  static constexpr int kUsualPriority = 50, kHighestPriority = 100;
  int priority = kUsualPriority;           // 0 to 100: lower is evicted first, before the policy's order
  std::chrono::milliseconds keep_for{0};   // soft pin: evicted before this time only if nothing else can be
  // Expected time until the next hit. The value is protected until that hit, for at most 1.5 times
  // this time; then it is evicted first.
  std::chrono::milliseconds expected_reuse{0};

  friend bool operator==(const Hints&, const Hints&) = default;
};

}   // namespace tensorcache
