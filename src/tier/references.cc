// Who holds an entry: pins of handles, and entries chained behind it.
#include "tier/memory_tier.h"

namespace tensorcache::detail {

bool MemoryTier::drop(Entry& entry, std::uint64_t unit) {
  std::uint64_t state = entry.state.load();
  for (;;) {
    const bool last = (state & kReferences) == unit;
    if (last && (state & kParked) != 0) {
      // While the reference still holds it: afterwards the entry may be freed at any time.
      unpark(entry);
      state = entry.state.load();
    } else if (entry.state.compare_exchange_weak(state, state - unit)) {
      return last && (state & kGone) != 0;
    }
  }
}

void MemoryTier::reclaim(Entry* entry) {
  while (entry != nullptr) {
    Entry* parent = entry->parent;
    free_memory(entry);
    entry = parent != nullptr && drop(*parent, kKid) ? parent : nullptr;
  }
}

void MemoryTier::unpark(Entry& entry) {
  const std::lock_guard lock(policy_mutex_);
  if ((entry.state.load() & kParked) == 0) return;
  entry.state.fetch_and(~kParked);
  entry.linked = true;
  policy_->restore(entry);
}

void MemoryTier::touch_locked(Entry& entry) {
  entry.tick.store(++ticks_, std::memory_order_relaxed);
  if ((entry.state.load() & kParked) != 0) {
    entry.state.fetch_and(~kParked);
    entry.linked = true;
    policy_->restore(entry);
  }
  if (entry.linked) policy_->touch(entry);
}

Entry* MemoryTier::hold_parent(const Key& key) {
  Shard& shard = index_.shard(key);
  const std::lock_guard lock(shard.mutex);
  Entry* parent = shard.find(key);
  if (parent == nullptr || is_expired(*parent)) return nullptr;
  parent->state.fetch_add(kKid);
  return parent;
}

Handle MemoryTier::pin(Entry& entry) {
  entry.state.fetch_add(kPin);
  return Handle(shared_from_this(), &entry);
}

Handle MemoryTier::share(const Handle& handle) { return pin(*handle.entry_); }

void MemoryTier::unpin(Entry* entry) {
  if (drop(*entry, kPin)) reclaim(entry);
  if (budget_.over()) trim();   // a smaller budget waits for what is pinned
}

void MemoryTier::discard(Entry* draft) {
  reclaim(draft);
  if (budget_.over()) trim();
}

}   // namespace tensorcache::detail
