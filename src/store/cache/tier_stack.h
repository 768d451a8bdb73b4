// The memory tier and an ordered list of lower tiers. Implements the rules between them once:
//   lookup       memory, then each lower tier in order; a value found below is promoted into memory
//   promotion    a value from one lower tier is written to the tiers above it
//   write-behind a value stored in memory is queued in each lower tier, missing parents first
//   removal      from every tier, atomically for other threads
// Without lower tiers each of these is the memory tier's own operation.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "store/cache/change_lock.h"
#include "store/cache/loader.h"
#include "store/cache/write_behind.h"
#include "store/memory/memory_tier.h"
#include "store/tier/lower_tier.h"

namespace tensorcache::cache {

// THREADS: all members from any thread, except close().
class TierStack {
 public:
  // `unix_ms`: the current wall time, with which copies in lower tiers are stamped.
  // `on_event`: receives log messages; may be empty.
  TierStack(std::shared_ptr<memory::MemoryTier> memory, LowerTiers lower, std::function<std::int64_t()> unix_ms, WriteBehind::OnEvent on_event = {});

  [[nodiscard]] bool has_lower_tiers() const { return !lower_.empty(); }

  // See Cache.
  [[nodiscard]] PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options);
  // put() without looking the key up in lower tiers. `pinned`: also returns the value stored then.
  [[nodiscard]] PutStatus store(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned);
  [[nodiscard]] PutStatus commit(Reservation reservation, Handle* pinned);
  // `counts`: whether it counts as a hit or miss, and as a use for the policy.
  [[nodiscard]] Lookup look_up(const Key& key, Tiers tiers, memory::MemoryTier::Count counts);
  [[nodiscard]] bool contains(const Key& key, Tiers tiers);
  [[nodiscard]] std::size_t peek(std::span<const Key> chain, Tiers tiers) const;
  [[nodiscard]] std::optional<std::size_t> head(const Key& key, std::span<std::byte> to);
  // Loads the leading run of the chain that is stored into memory. Waits for the lower tiers.
  void load_now(std::span<const Key> chain);
  bool load(std::vector<Key> chain, std::chrono::milliseconds timeout, std::function<void()> done);
  bool remove(const Key& key);
  std::uint64_t clear(const Selection& what);
  void resize(std::uint64_t capacity_bytes);

  bool flush(std::chrono::milliseconds time) { return write_behind_.flush(time); }
  void when_flushed(std::function<void(bool)> done) { write_behind_.when_flushed(std::move(done)); }
  // Closes the lower tiers. RETURNS false if a removed or replaced value may reappear at the next
  // start.
  bool close(std::chrono::milliseconds time);

  struct TransferStats {
    std::uint64_t skipped = 0, late = 0;   // computing was faster; the load exceeded its timeout
    std::uint64_t unavailable = 0;         // lookups of stored values that could not be read
    std::uint64_t waiting_bytes = 0;       // values that wait for room in a write-behind queue
    std::uint64_t lost_writes = 0;         // values that left memory before there was room
  };
  [[nodiscard]] TransferStats transfer_stats() const;

 private:
  // Looks up lower tiers after a miss in memory that began when changes_.count() was `changes`.
  [[nodiscard]] Lookup find_below(const Key& key, std::uint64_t changes);
  [[nodiscard]] bool is_below(const Key& key) const;
  [[nodiscard]] bool has_children_below(const Key& key) const;
  [[nodiscard]] Lookup counted(Lookup lookup);
  [[nodiscard]] PutStatus replace(Reservation reservation, Handle* stored);
  void wait_for_room() const;
  std::uint64_t clear_from(std::size_t tier, const Selection& what, std::uint64_t* in_memory);

  const std::shared_ptr<memory::MemoryTier> memory_;
  ChangeLock changes_;
  LowerTiers lower_;
  WriteBehind write_behind_;
  std::atomic<std::uint64_t> unavailable_{0};
  std::unique_ptr<Loader> loader_;   // null without lower tiers. Declared after them: it stops reading before they are destroyed
};

}   // namespace tensorcache::cache
