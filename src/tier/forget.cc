// Out of the index: by key, by owner, by age.
#include <bit>
#include <thread>
#include <utility>

#include "tier/memory_tier.h"

namespace tensorcache::detail {

namespace {

// Marks `entry` and all its ancestors up to one whose mark is known. Needs every shard held. An ancestor that is gone had expired, so what is
// chained behind it has too; no walk would clear a mark set on it.
template <class Doomed>
void mark(Entry& entry, const Doomed& doomed) {
  std::uint64_t result = kMarkKeep;
  Entry* known = &entry;
  for (; known != nullptr && !known->has(kGone); known = known->above()) {
    if (known->has(kMarks)) {
      result = known->state.marks();
      break;
    }
    if (doomed(*known)) {
      result = kMarkForget;
      known->state.set_mark(result);
      break;
    }
  }
  for (Entry* below = &entry; below != known; below = below->above()) below->state.set_mark(result);
}

}   // namespace

// Out of the index and the policy's hands. It is gone already, and pinned until it is swept.
void MemoryTier::unindex(Shard& shard, Entry& entry, Counter counter, Garbage& garbage) {
  shard.unlink(entry);
  KindStats& kind = shard.counts.kinds[static_cast<std::size_t>(entry.kind)];
  kind.entries -= 1;
  kind.value_bytes -= entry.value_bytes();
  kind.charged_bytes -= entry.charge_bytes;
  shard.counts.*counter += 1;
  if (entry.has(kLinked | kParked)) {
    const std::lock_guard lock(policy_mutex_);
    if (entry.has(kLinked)) {
      policy_->erase(entry);
      --linked_;
    }
    entry.state.leave_policy();
    end_kept();
  }
  entry.next = garbage.entries;
  garbage.entries = &entry;
  if (shard.is_empty()) {
    if (Table* table = shard.drop_table()) table->next = std::exchange(garbage.tables, table);
  } else if (shard.may_be_too_large(fit())) {
    garbage.sparse_shards |= std::uint32_t{1} << (&shard - index_.shards().data());
  }
}

// A pinned entry that the policy let go of. False: others hold it too.
bool MemoryTier::take_out(Entry& victim, Garbage& garbage) {
  Shard& shard = index_.shard(victim);
  const std::lock_guard lock(shard.mutex);
  if (!victim.state.park_or_retire()) return false;
  unindex(shard, victim, &ShardCounts::evictions, garbage);
  return true;
}

// When everybody who might have found them has looked away.
void MemoryTier::sweep(const Garbage& garbage, Spare spare) {
  if (garbage.entries == nullptr && garbage.tables == nullptr) return;
  for (Readers::Slots left = Readers::kAllSlots;;) {
    {
      const std::lock_guard lock(policy_mutex_);
      settle(left);
    }
    if (left == 0) break;
    std::this_thread::yield();   // a reader's section takes some ten nanoseconds, unless it was sent to sleep in it
  }
  for (Table* table = garbage.tables; table != nullptr;) {
    Table* next = table->next;
    const std::uint64_t bytes = table->charge_bytes;
    Table::free(table);
    budget_.give_back(bytes);
    table = next;
  }
  std::int64_t blocks = 0;
  for (Entry* entry = garbage.entries; entry != nullptr;) {
    auto* next = static_cast<Entry*>(entry->next);
    if (drop(*entry, kPin)) blocks += free_chain(entry, spare);
    entry = next;
  }
  for (std::uint32_t left = garbage.sparse_shards; left != 0; left &= left - 1) {
    shrink_table(index_.shards()[static_cast<std::size_t>(std::countr_zero(left))]);
  }
  if (blocks != 0) let_live(-blocks);   // the last: this tier may go with them
}

// Alone, whatever is chained behind it: no entry outlives its parent, so its descendants have expired too and are evicted or met in turn.
void MemoryTier::expire(const Key& key) {
  Garbage garbage;
  {
    Shard& shard = index_.shard(key);
    const std::lock_guard lock(shard.mutex);
    Entry* entry = shard.find(key);
    if (entry == nullptr || !is_expired(*entry)) return;
    entry->state.retire();
    unindex(shard, *entry, &ShardCounts::expirations, garbage);
  }
  sweep(garbage);
}

// An entry with descendants takes them with it. They can be found only by a walk over the index: entries know their parents alone.
bool MemoryTier::remove(const Key& key) {
  Garbage garbage;
  bool alone = true;
  {
    Shard& shard = index_.shard(key);
    const std::lock_guard lock(shard.mutex);
    Entry* entry = shard.find(key);
    if (entry == nullptr) return false;
    alone = entry->state.retire_if_alone();
    if (!alone && is_expired(*entry)) {
      entry->state.retire();
      alone = true;
    }
    if (alone) unindex(shard, *entry, &ShardCounts::removals, garbage);
  }
  sweep(garbage);
  return alone || forget_where([&](const Entry& entry) { return entry.has_key(key); }) != 0;
}

template <class Doomed>
std::uint64_t MemoryTier::forget_where(const Doomed& doomed) {
  std::uint64_t count = 0;
  Garbage garbage;
  {
    const Index::AllLocked lock(index_);
    for (Shard& shard : index_.shards()) {
      shard.for_each([&](Entry& entry) { mark(entry, doomed); });
    }
    for (Shard& shard : index_.shards()) {
      shard.for_each([&](Entry& entry) {
        const bool forgotten = entry.has(kMarkForget);
        entry.state.clear_marks();
        if (!forgotten) return;
        entry.state.retire();
        unindex(shard, entry, &ShardCounts::removals, garbage);
        ++count;
      });
    }
  }
  sweep(garbage);
  return count;
}

std::uint64_t MemoryTier::clear(std::optional<std::uint64_t> owner) {
  const std::uint64_t used_before = budget_.used();
  const std::uint64_t count = forget_where([&](const Entry& entry) { return !owner || entry.owner == *owner; });
  pool_.release(~std::uint64_t{0});
  spares_.release_all();
  if (!owner) shed_policy();
  trim_malloc(used_before);
  return count;
}

}   // namespace tensorcache::detail
