#include "cache/flights.h"

#include <utility>

#include "cache/lower.h"

namespace tensorcache {

Handle Cache::Flights::compute_and_store(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options) {
  detail::MemoryTier& tier = *cache.tier_;
  // Somebody may have stored it between this caller's miss and its take-off.
  if (Handle stored = tier.get(key, detail::MemoryTier::Count::kNo)) return stored;
  const std::vector<std::byte> value = compute();
  Handle handle;
  const PutStatus status = tier.put(key, value, options, &handle);
  if (status == PutStatus::kStored && cache.lower_) cache.lower_->write(handle);
  if (!handle) handle = tier.get(key, detail::MemoryTier::Count::kNo);   // somebody's put() was faster
  return handle ? std::move(handle) : tier.detached(value, options);
}

// With mutex_ held: the leader gives up. One of those who wait takes its place, or the flight ends.
void Cache::Flights::hand_over(const Key& key, Flight& flight) {
  flight.computing = false;
  if (flight.waiting == 0) {
    flights_.erase(key);
  } else {
    flight.changed.notify_one();
  }
}

Handle Cache::Flights::join(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options) {
  std::shared_ptr<Flight> flight;   // outlives the lock: letting go of its result takes other locks
  std::unique_lock lock(mutex_);
  auto& slot = flights_[key];
  const bool first = !slot;
  if (first) slot = std::make_shared<Flight>();
  flight = slot;
  if (!first) {
    ++flight->waiting;
    flight->changed.wait(lock, [&] { return flight->result || !flight->computing; });
    --flight->waiting;
    if (flight->result) return cache.tier_->share(flight->result);
    flight->computing = true;
  }
  lock.unlock();
  try {
    Handle handle = compute_and_store(cache, key, compute, options);
    Handle shared = cache.tier_->share(handle);
    lock.lock();
    flight->result = std::move(shared);
    flights_.erase(key);
    flight->changed.notify_all();
    return handle;
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    hand_over(key, *flight);
    throw;
  }
}

}   // namespace tensorcache
