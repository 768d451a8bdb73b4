// Out of the index: by key, by owner, by age.
#include <thread>
#include <utility>

#include "tier/memory_tier.h"

namespace tensorcache::detail {

namespace {

// Marks `entry` and all its ancestors up to one whose mark is known. Needs every shard held.
template <class Doomed>
void mark(Entry& entry, const Doomed& doomed) {
  std::uint64_t result = kMarkKeep;
  Entry* known = &entry;
  for (; known != nullptr; known = known->above()) {
    if (known->has(kMarks)) {
      result = known->state.load() & kMarks;
      break;
    }
    if (doomed(*known)) {
      result = kMarkForget;
      known->state.fetch_or(result);
      break;
    }
  }
  for (Entry* below = &entry; below != known; below = below->above()) below->state.fetch_or(result);
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
    entry.state.fetch_and(~(kLinked | kParked));
  }
  entry.next = garbage.entries;
  garbage.entries = &entry;
  if (Table* table = shard.drop_table()) table->next = std::exchange(garbage.tables, table);
}

// Gone, and pinned, from here on. False: others are chained behind it.
bool MemoryTier::retire_if_alone(Entry& entry) {
  std::uint64_t state = entry.state.load();
  do {
    if ((state & kReferences) >= kKid) return false;
  } while (!entry.state.compare_exchange_weak(state, (state + kPin) | kGone));
  return true;
}

// A pinned entry that the policy let go of. False: others hold it too.
bool MemoryTier::take_out(Entry& victim, Garbage& garbage) {
  Shard& shard = index_.shard(victim);
  const std::lock_guard lock(shard.mutex);
  std::uint64_t state = victim.state.load();
  do {
    if ((state & kGone) != 0) return false;
    if ((state & kReferences) != kPin) {
      if (victim.state.compare_exchange_weak(state, state | kParked)) return false;
      continue;
    }
    if (victim.state.compare_exchange_weak(state, state | kGone)) break;
  } while (true);
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
  if (blocks != 0) let_live(-blocks);
}

std::uint64_t MemoryTier::forget(const Key& key, Only only) {
  const Counter counter = only == Only::kAll ? &ShardCounts::removals : &ShardCounts::expirations;
  Garbage garbage;
  bool whole_chain = false;
  {
    Shard& shard = index_.shard(key);
    const std::lock_guard lock(shard.mutex);
    Entry* entry = shard.find(key);
    if (entry == nullptr || (only == Only::kExpired && !is_expired(*entry))) return 0;
    whole_chain = !retire_if_alone(*entry);
    if (!whole_chain) unindex(shard, *entry, counter, garbage);
  }
  sweep(garbage);
  if (!whole_chain) return 1;
  return forget_where([&](const Entry& entry) { return entry.has_key(key) && (only == Only::kAll || is_expired(entry)); }, counter);
}

template <class Doomed>
std::uint64_t MemoryTier::forget_where(const Doomed& doomed, Counter counter) {
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
        entry.state.fetch_and(~kMarks);
        if (!forgotten) return;
        entry.state.fetch_add(kPin);
        entry.state.fetch_or(kGone);
        unindex(shard, entry, counter, garbage);
        ++count;
      });
    }
  }
  sweep(garbage);
  return count;
}

void MemoryTier::expire(const Key& key) { static_cast<void>(forget(key, Only::kExpired)); }

bool MemoryTier::remove(const Key& key) { return forget(key, Only::kAll) != 0; }

std::uint64_t MemoryTier::clear(std::optional<std::uint64_t> owner) {
  const std::uint64_t count = forget_where([&](const Entry& entry) { return !owner || entry.owner == *owner; }, &ShardCounts::removals);
  pool_.release(~std::uint64_t{0});
  spares_.release_all();
  return count;
}

}   // namespace tensorcache::detail
