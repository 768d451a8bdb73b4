#include "store/cache/flights.h"

#include <utility>
#include <variant>

#include "store/cache/tier_stack.h"
#include "store/memory/memory_tier.h"

namespace tensorcache {

Handle Cache::Flights::compute_and_store(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options) {
  // The value may have been stored between this caller's miss and its lead.
  if (Lookup stored = cache.tiers_->look_up(key, Tiers::kAll, memory::MemoryTier::Count::kNo); stored.value) return std::move(stored.value);
  const std::vector<std::byte> value = compute();
  Handle handle;
  static_cast<void>(cache.put(key, value, options, &handle));
  if (!handle) handle = cache.tier_->get(key, memory::MemoryTier::Count::kNo);   // another thread's put() came first
  return handle ? std::move(handle) : cache.tier_->detached(value, options);
}

Handle Cache::Flights::join(Cache& cache, const Key& key, const Compute& compute, const PutOptions& options) {
  auto joined = flights_.join(key);
  if (const auto* landed = std::get_if<0>(&joined)) return cache.tier_->share(**landed);
  auto& lead = std::get<1>(joined);
  Handle handle = compute_and_store(cache, key, compute, options);
  lead.land(std::make_shared<const Handle>(cache.tier_->share(handle)));
  return handle;
}

}   // namespace tensorcache
