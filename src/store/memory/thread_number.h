// Small numbers for threads, to give each a slot of its own.
#pragma once

#include <atomic>
#include <cstddef>

namespace tensorcache::memory {

// Counted from 0 as threads first ask. Afterwards a load from the thread's own memory.
[[nodiscard]] inline std::size_t thread_number() {
  static std::atomic<std::size_t> threads{0};
  thread_local std::size_t number_and_one = 0;   // without a guard, as a constant begins it
  if (number_and_one == 0) number_and_one = threads.fetch_add(1, std::memory_order_relaxed) + 1;
  return number_and_one - 1;
}

}   // namespace tensorcache::memory
