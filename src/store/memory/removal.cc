// Out of the index: by key, by what a deletion is_selective, by age.
#include <array>
#include <bit>
#include <thread>
#include <utility>

#include "store/memory/memory_tier.h"

namespace tensorcache::memory {

namespace {

constexpr std::size_t kBuckets = 32;     // of a shard's table that are looked at under its mutex at a time
constexpr std::uint64_t kSwept = 8192;   // entries whose memory is given back together: each time waits for all readers

// Marks `entry` and all its ancestors up to one whose mark is known: as forgotten if one of them is. Needs the entry's shard held, which keeps
// the entry and so its ancestors. One that is gone without a mark had expired or was evicted, which this walk has nothing to do with.
bool is_behind_forgotten(Entry& entry) {
  std::uint64_t result = kMarkKeep;
  Entry* known = &entry;
  for (; known != nullptr; known = known->above()) {
    if (const std::uint64_t marks = known->state.marks(); marks != 0) {
      result = marks;
      break;
    }
    if (known->has(kGone)) break;
  }
  for (Entry* below = &entry; below != known; below = below->above()) below->state.set_mark(result);
  return result == kMarkForget;
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
  for (Epochs::Slots left = Epochs::kAllSlots;;) {
    {
      const std::lock_guard lock(policy_mutex_);
      flush_uses(left);
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

// All entries, those of some buckets at a time with their shard held; then the next shard's, so that who waits for one gets it. `forget` tells
// which are to go.
template <class Forget>
std::uint64_t MemoryTier::forget_in_slices(const Forget& forget) {
  struct Cursor {
    std::size_t at = 0;
    std::uint64_t table = 0;
    bool more = true;
  };
  std::array<Cursor, Index::kShards> cursors;
  std::uint64_t count = 0, swept = 0;
  Garbage garbage;
  for (bool more = true; more;) {
    more = false;
    for (std::size_t i = 0; i < Index::kShards; ++i) {
      Cursor& cursor = cursors[i];
      if (!cursor.more) continue;
      Shard& shard = index_.shards()[i];
      const std::lock_guard lock(shard.mutex);
      if (std::exchange(cursor.table, shard.table_number()) != shard.table_number()) cursor.at = 0;   // there it may lie elsewhere
      cursor.more = shard.for_some(cursor.at, kBuckets, [&](Entry& entry) {
        if (!forget(entry)) return;
        entry.state.set_mark(kMarkForget);
        entry.state.retire();
        unindex(shard, entry, &ShardCounts::removals, garbage);
        ++count;
      });
      cursor.at += kBuckets;
      more = more || cursor.more;
    }
    if (more && count - swept < kSwept) continue;
    sweep(garbage);
    garbage = {};
    swept = count;
  }
  return count;
}

// First what is doomed itself, then what is chained behind it. Between the two and within each others find some of it gone already. Nothing
// is stored behind it any more once it is marked (publish() looks as long as forgetting_ says so), so the second walk misses nothing.
template <class Doomed>
std::uint64_t MemoryTier::forget_where(const Doomed& doomed) {
  const std::lock_guard one_at_a_time(forgetting_mutex_);
  forgetting_.store(true);
  bool parents = false;
  std::uint64_t count = forget_in_slices([&](const Entry& entry) {
    if (!doomed(entry)) return false;
    parents = parents || entry.state.children() != 0;
    return true;
  });
  if (parents) {
    count += forget_in_slices([](Entry& entry) { return entry.parent != nullptr && is_behind_forgotten(entry); });
    static_cast<void>(forget_in_slices([](Entry& entry) {
      if (entry.has(kMarks)) entry.state.clear_marks();
      return false;
    }));
  }
  forgetting_.store(false);
  return count;
}

std::uint64_t MemoryTier::clear(const Selection& what) {
  const std::uint64_t used_before = budget_.used();
  const auto now = clock_();
  const std::uint64_t count = forget_where([&](const Entry& entry) {
    return (!what.owner || entry.owner == *what.owner) && (!what.source || entry.source == *what.source) &&
           (!what.older_than || entry.lifetime.age(now) >= *what.older_than);
  });
  pool_.release(~std::uint64_t{0});
  spares_.release_all();
  if (!what.owner && !what.source && !what.older_than) shed_policy();
  trim_malloc(used_before);
  return count;
}

}   // namespace tensorcache::memory
