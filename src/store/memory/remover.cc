#include "store/memory/remover.h"

#include <array>
#include <utility>

namespace tensorcache::memory {

namespace {

constexpr std::size_t kBuckets = 32;     // of a shard's table that are looked at under its lock at a time
constexpr std::uint64_t kSwept = 8192;   // entries whose memory is given back together: each time waits for all readers

// Marks `entry` and all its ancestors up to one whose mark is known: as forgotten if one of them
// is. One that is gone without a mark had expired or was evicted, which this walk has nothing to do
// with. REQUIRES: the lock of the entry's shard, which keeps the entry and so its ancestors.
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

void tell(const Garbage& garbage, const Remover::OnRemoved& on_removed) {
  for (const auto* entry = garbage.entries; entry != nullptr; entry = static_cast<const Entry*>(entry->next)) on_removed(entry->key());
}

}   // namespace

// Alone, whatever is chained behind it: no entry outlives its parent, so its descendants have
// expired too and are evicted or met in turn.
void Remover::expire(const Key& key) {
  Garbage garbage;
  {
    Shard& shard = state_.index.shard(key);
    const SpinLock lock(shard.mutex);
    Entry* entry = shard.find(key);
    if (entry == nullptr || !state_.is_expired(*entry)) return;
    entry->state.retire();
    state_.unindex(shard, *entry, &ShardCounts::expirations, garbage);
  }
  evictor_.sweep(garbage);
}

// An entry with descendants takes them with it. Only a walk over the index finds them: entries know
// their parents alone.
bool Remover::remove(const Key& key, const OnRemoved& on_removed) {
  Garbage garbage;
  bool alone = true;
  {
    Shard& shard = state_.index.shard(key);
    const SpinLock lock(shard.mutex);
    Entry* entry = shard.find(key);
    if (entry == nullptr) return false;
    alone = entry->state.retire_if_alone();
    if (!alone && state_.is_expired(*entry)) {
      entry->state.retire();
      alone = true;
    }
    if (alone) state_.unindex(shard, *entry, &ShardCounts::removals, garbage);
  }
  evictor_.sweep(garbage);
  return alone || forget_where([&](const Entry& entry) { return entry.has_key(key); }, on_removed) != 0;
}

// Walks all entries, those of some buckets at a time with their shard's lock; then the next
// shard's, so that who waits for one gets it. `forget` tells which are to go.
template <class Forget>
std::uint64_t Remover::forget_in_slices(const Forget& forget, const OnRemoved& on_removed) {
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
      Shard& shard = state_.index.shards()[i];
      const SpinLock lock(shard.mutex);
      if (std::exchange(cursor.table, shard.table_number()) != shard.table_number()) cursor.at = 0;   // there it may lie elsewhere
      cursor.more = shard.for_some(cursor.at, kBuckets, [&](Entry& entry) {
        shard.mutex.assert_held();
        if (!forget(entry)) return;
        entry.state.set_mark(kMarkForget);
        entry.state.retire();
        state_.unindex(shard, entry, &ShardCounts::removals, garbage);
        ++count;
      });
      cursor.at += kBuckets;
      more = more || cursor.more;
    }
    if (more && count - swept < kSwept) continue;
    if (on_removed) tell(garbage, on_removed);
    evictor_.sweep(garbage);
    garbage = {};
    swept = count;
  }
  return count;
}

// First what is doomed itself, then what is chained behind it. Between the two and within each
// others find some of it gone already. Nothing is stored behind it any more once it is marked
// (commit() asks is_being_forgotten()), so the second walk misses nothing.
template <class Doomed>
std::uint64_t Remover::forget_where(const Doomed& doomed, const OnRemoved& on_removed) {
  const MutexLock one_at_a_time(walking_);
  forgetting_.store(true);
  bool parents = false;
  std::uint64_t count = forget_in_slices(
      [&](const Entry& entry) {
        if (!doomed(entry)) return false;
        parents = parents || entry.state.children() != 0;
        return true;
      },
      on_removed);
  if (parents) {
    count += forget_in_slices([](Entry& entry) { return entry.parent != nullptr && is_behind_forgotten(entry); }, on_removed);
    static_cast<void>(forget_in_slices(
        [](Entry& entry) {
          if (entry.has(kMarks)) entry.state.clear_marks();
          return false;
        },
        on_removed));
  }
  forgetting_.store(false);
  return count;
}

bool Remover::is_being_forgotten(const Entry& entry) const {
  if (!forgetting_.load()) return false;
  for (const Entry* above = &entry; above != nullptr; above = above->above()) {
    if (above->has(kMarkForget)) return true;
  }
  return false;
}

std::uint64_t Remover::clear(const Selection& what, const OnRemoved& on_removed) {
  const std::uint64_t used_before = state_.budget.used();
  const auto now = state_.clock();
  const std::uint64_t count = forget_where(
      [&](const Entry& entry) {
        return (!what.owner || entry.owner == *what.owner) && (!what.source || entry.source == *what.source) &&
               (!what.older_than || entry.lifetime.age(now) >= *what.older_than);
      },
      on_removed);
  state_.memory.release_all();
  if (!what.owner && !what.source && !what.older_than) state_.order.shed();
  state_.memory.trim_malloc(used_before);
  return count;
}

}   // namespace tensorcache::memory
