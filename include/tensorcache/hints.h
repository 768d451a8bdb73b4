// What a caller knows of the future of values: it changes what goes first when room is needed, never what is served.
//
//   tensorcache::Cache cache({.capacity_bytes = 1 << 30});
//   using std::chrono_literals::operator""min;
//   (void)cache.put(key, text, {.hints = {.priority = 80, .keep_for = 10min}});
#pragma once

#include <chrono>

namespace tensorcache {

struct Hints {
  static constexpr int kUsualPriority = 50, kHighestPriority = 100;
  int priority = kUsualPriority;                 // 0 to 100: what has a lower one goes first, whatever the policy says
  std::chrono::milliseconds keep_for{0};         // until then it goes only when nothing else can
  std::chrono::milliseconds expected_reuse{0};   // the same until it is used again, but only for so long and half as long again; then it goes next

  friend bool operator==(const Hints&, const Hints&) = default;
};

}   // namespace tensorcache
