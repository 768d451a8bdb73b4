// What the parts of the memory tier share: the stored entries, the budget, and the order in which
// entries are evicted; and the one step that changes several of them at once.
//
// Each piece guards itself. Locks: docs/architecture.md.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "store/memory/budget.h"
#include "store/memory/entry.h"
#include "store/memory/entry_memory.h"
#include "store/memory/epochs.h"
#include "store/memory/eviction_order.h"
#include "store/memory/index.h"
#include "store/policy/policy.h"

namespace tensorcache::memory {

// Entries and tables that were taken out of the index, the entries pinned. Evictor::sweep() frees
// them.
struct Garbage {
  Entry* entries = nullptr;
  Table* tables = nullptr;
  std::uint32_t sparse_shards = 0;   // a bit for each whose table may be too large now
  static_assert(Index::kShards <= 32);
};

// THREADS: all members from any thread.
struct MemoryState {
  using Clock = EvictionOrder::Clock;
  MemoryState(std::uint64_t capacity_bytes, std::unique_ptr<policy::Policy> policy, Clock clock_of_tier)
      : clock(std::move(clock_of_tier)), budget(capacity_bytes), order(budget, epochs, std::move(policy), clock) {}
  MemoryState(const MemoryState&) = delete;
  MemoryState& operator=(const MemoryState&) = delete;

  const Clock clock;
  Budget budget;
  EntryMemory memory{budget};
  Index index;
  mutable Epochs epochs;
  EvictionOrder order;
  std::atomic<std::uint64_t> rejected_puts{0};

  // What is stored under the key: where one is gone, another may just take its place. REQUIRES: a
  // read section.
  [[nodiscard]] Entry* find(const Key& key) const {
    Entry* entry = index.find(key);
    while (entry != nullptr && entry->has(kGone)) entry = index.find(key);
    return entry;
  }
  [[nodiscard]] bool is_expired(const Entry& entry) const { return entry.has(kExpires) && entry.lifetime.over(clock()); }
  [[nodiscard]] Shard::Fit fit() const { return budget.over() ? Shard::Fit::kTight : Shard::Fit::kLoose; }

  // Takes an entry that is gone, and pinned until it is swept, out of its shard and out of the
  // policy's hands. `counter`: why.
  void unindex(Shard& shard, Entry& entry, Shard::Counter counter, Garbage& garbage) TC_REQUIRES(shard.mutex);
};

}   // namespace tensorcache::memory
