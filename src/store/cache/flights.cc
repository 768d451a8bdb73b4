#include "store/cache/flights.h"

#include <stdexcept>
#include <utility>

#include "store/cache/lower.h"

namespace tensorcache {

Handle Cache::Flights::compute_and_store(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options) {
  // It may have been stored between this caller's miss and its lead.
  if (Lookup stored = cache.look_up(key, Tiers::kAll, false); stored.value) return std::move(stored.value);
  const std::vector<std::byte> value = compute();
  Handle handle;
  static_cast<void>(cache.put(key, value, options, &handle));
  if (!handle) handle = cache.tier_->get(key, memory::MemoryTier::Count::kNo);   // another thread's put() was faster
  return handle ? std::move(handle) : cache.tier_->detached(value, options);
}

// With mutex_ held: the leader gives up. One of those that wait takes its place, or the flight ends.
void Cache::Flights::hand_over(const Key& key, const std::shared_ptr<Flight>& flight) {
  cache::set_leader(*flight, nullptr);
  flight->computing = false;
  if (flight->waiting > 0) {
    flight->changed.notify_one();
  } else if (const auto found = flights_.find(key); found != flights_.end() && found->second == flight) {
    flights_.erase(found);
  }
}

bool Cache::Flights::wait(std::unique_lock<std::mutex>& lock, std::shared_ptr<Flight>& flight) {
  const cache::Wait wait(*flight);
  if (wait.kind() == cache::Wait::Kind::kForItself) throw std::logic_error("get_or_compute: the computation of a key asks for the same key");
  if (wait.kind() == cache::Wait::Kind::kCircle) {
    flight = std::make_shared<Flight>();
    return false;
  }
  ++flight->waiting;
  flight->changed.wait(lock, [&] { return flight->result || !flight->computing; });
  --flight->waiting;
  return static_cast<bool>(flight->result);
}

Handle Cache::Flights::join(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options) {
  std::shared_ptr<Flight> flight;   // outlives the lock: letting go of its result takes other locks
  std::unique_lock lock(mutex_);
  if (const auto found = flights_.find(key); found != flights_.end()) {
    flight = found->second;
    if (wait(lock, flight)) return cache.tier_->share(flight->result);
  } else {
    flight = std::make_shared<Flight>();
    flights_.emplace(key, flight);
  }
  flight->computing = true;
  cache::set_leader(*flight, &cache::this_waiter());
  lock.unlock();
  try {
    Handle handle = compute_and_store(cache, key, compute, options);
    Handle shared = cache.tier_->share(handle);
    lock.lock();
    cache::set_leader(*flight, nullptr);
    flight->result = std::move(shared);
    if (const auto found = flights_.find(key); found != flights_.end() && found->second == flight) flights_.erase(found);
    flight->changed.notify_all();
    return handle;
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    hand_over(key, flight);
    throw;
  }
}

}   // namespace tensorcache
