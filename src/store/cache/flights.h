// Single-flight for get_or_compute: at most one computation per key at a time.
#pragma once

#include <memory>

#include "base/core/single_flight.h"
#include "store/memory/memory_tier.h"
#include "tensorcache/cache.h"

namespace tensorcache {

// THREADS: all members from any thread. No lock is held while a caller's function runs.
struct Cache::Flights {
 public:
  // After a miss: computes and stores the value, or waits for the thread that computes it. Throws
  // what `compute` throws, and std::logic_error if `compute` asks for its own key.
  [[nodiscard]] Handle join(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options);

 private:
  static Handle compute_and_store(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options);

  SingleFlight<Key, std::shared_ptr<const Handle>> flights_;
};

}   // namespace tensorcache
