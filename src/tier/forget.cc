// Out of the index: by key, by owner, by age.
#include <utility>

#include "tier/memory_tier.h"

namespace tensorcache::detail {

namespace {

// Marks `entry` and all its ancestors up to one whose mark is known. Needs every shard held.
template <class Doomed>
void mark(Entry& entry, const Doomed& doomed) {
  Mark result = Mark::kKeep;
  Entry* known = &entry;
  for (; known != nullptr; known = known->parent) {
    if (known->mark != Mark::kNone) {
      result = known->mark;
      break;
    }
    if (doomed(*known)) {
      known->mark = result = Mark::kForget;
      break;
    }
  }
  for (Entry* below = &entry; below != known; below = below->parent) below->mark = result;
}

}   // namespace

void MemoryTier::unindex(Shard& shard, Entry& entry, Entry*& garbage) {
  shard.unlink(entry);
  KindCounters& kind = kinds_[static_cast<std::size_t>(entry.kind)];
  kind.entries.fetch_sub(1, std::memory_order_relaxed);
  kind.value_bytes.fetch_sub(entry.value_bytes, std::memory_order_relaxed);
  kind.charged_bytes.fetch_sub(entry.charge_bytes, std::memory_order_relaxed);
  {
    const std::lock_guard lock(policy_mutex_);
    if (std::exchange(entry.linked, false)) policy_->erase(entry);
    entry.state.fetch_and(~kParked);
  }
  if ((entry.state.fetch_or(kGone) & kReferences) != 0) return;   // whoever holds it frees it
  entry.next = garbage;
  garbage = &entry;
}

void MemoryTier::sweep(Entry* garbage) {
  while (garbage != nullptr) reclaim(std::exchange(garbage, garbage->next));
}

std::uint64_t MemoryTier::forget(const Key& key, Only only) {
  Entry* garbage = nullptr;
  bool whole_chain = false;
  {
    Shard& shard = index_.shard(key);
    const std::lock_guard lock(shard.mutex);
    Entry* entry = shard.find(key);
    if (entry == nullptr || (only == Only::kExpired && !is_expired(*entry))) return 0;
    whole_chain = (entry->state.load() & kReferences) >= kKid;
    if (!whole_chain) {
      unindex(shard, *entry, garbage);
      if (shard.empty()) shard.drop_table(budget_);
    }
  }
  sweep(garbage);
  if (!whole_chain) return 1;
  return forget_where([&](const Entry& entry) { return entry.key == key && (only == Only::kAll || is_expired(entry)); });
}

template <class Doomed>
std::uint64_t MemoryTier::forget_where(const Doomed& doomed) {
  std::uint64_t count = 0;
  Entry* garbage = nullptr;
  {
    const Index::AllLocked lock(index_);
    for (Shard& shard : index_.shards()) {
      shard.for_each([&](Entry& entry) { mark(entry, doomed); });
    }
    for (Shard& shard : index_.shards()) {
      shard.for_each([&](Entry& entry) {
        if (std::exchange(entry.mark, Mark::kNone) != Mark::kForget) return;
        unindex(shard, entry, garbage);
        ++count;
      });
      if (shard.empty()) shard.drop_table(budget_);
    }
  }
  sweep(garbage);
  return count;
}

bool MemoryTier::remove(const Key& key) {
  const std::uint64_t count = forget(key, Only::kAll);
  removals_.fetch_add(count, std::memory_order_relaxed);
  return count != 0;
}

std::uint64_t MemoryTier::clear(std::optional<std::uint64_t> owner) {
  const std::uint64_t count = forget_where([&](const Entry& entry) { return !owner || entry.owner == *owner; });
  removals_.fetch_add(count, std::memory_order_relaxed);
  pool_.release(~std::uint64_t{0});
  return count;
}

}   // namespace tensorcache::detail
