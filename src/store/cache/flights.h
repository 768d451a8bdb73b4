// Single-flight for get_or_compute: at most one computation per key at a time.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "store/cache/waits.h"
#include "tensorcache/cache.h"
#include "store/memory/memory_tier.h"

namespace tensorcache {

// Threads: all members from any thread. No lock is held while a caller's function runs.
struct Cache::Flights {
 public:
  // After a miss: computes and stores, or waits for the thread that does. Throws what `compute` throws, and std::logic_error where that asks
  // for its own key.
  [[nodiscard]] Handle join(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options);

 private:
  struct Flight : cache::Awaited {
    std::condition_variable changed;
    bool computing = true;
    std::size_t waiting = 0;
    Handle result;   // set once, then shared by all who waited
  };

  // Whether the flight's result is there; otherwise the caller leads it, by itself if `flight` is another one then.
  [[nodiscard]] bool wait(std::unique_lock<std::mutex>& lock, std::shared_ptr<Flight>& flight);
  void hand_over(const Key& key, const std::shared_ptr<Flight>& flight);
  static Handle compute_and_store(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options);

  std::mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<Flight>> flights_;
};

}   // namespace tensorcache
