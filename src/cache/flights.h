// One computation per key at a time, for get_or_compute.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "tensorcache/cache.h"
#include "tier/memory_tier.h"

namespace tensorcache {

// Threads: all members from any thread. No lock is held while a caller's function runs.
struct Cache::Flights {
 public:
  // After a miss: computes and stores, or waits for whoever does. Throws what `compute` throws.
  [[nodiscard]] Handle join(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options);

 private:
  struct Flight {
    std::condition_variable changed;
    bool computing = true;
    std::size_t waiting = 0;
    Handle result;   // set once, then shared by all who waited
  };

  void hand_over(const Key& key, Flight& flight);
  static Handle compute_and_store(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options);

  std::mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<Flight>> flights_;
};

}   // namespace tensorcache
