// The tiers together: the memory, and an ordered list of tiers below it. The rules between them are here, once:
//   look-up      the memory, then each lower tier in order; a value that is found below is brought into memory
//   promotion    what came from one lower tier is written to those above it
//   write-behind what is stored in memory is queued in each lower tier, missing parents first
//   removal      from every tier, in one step as others see it
// With no lower tier each of these is the memory's own operation.
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
#include "store/memory/memory_tier.h"
#include "store/tier/lower_tier.h"

namespace tensorcache::cache {

// THREADS: all members from any thread, but close().
class TierStack {
 public:
  // `unix_ms`: wall time now, which the lower tiers' copies are stamped with.
  TierStack(std::shared_ptr<memory::MemoryTier> memory, LowerTiers lower, std::function<std::int64_t()> unix_ms);

  [[nodiscard]] bool has_lower_tiers() const { return !lower_.empty(); }

  // As Cache's.
  [[nodiscard]] PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options);
  // The same without asking the lower tiers whether it is stored. `pinned`: also hands out what is stored then.
  [[nodiscard]] PutStatus store(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned);
  [[nodiscard]] PutStatus commit(Reservation reservation, Handle* pinned);
  // `counts`: as a hit or a miss, and as a use for the policy.
  [[nodiscard]] Lookup look_up(const Key& key, Tiers tiers, memory::MemoryTier::Count counts);
  [[nodiscard]] bool contains(const Key& key, Tiers tiers);
  [[nodiscard]] std::size_t peek(std::span<const Key> chain, Tiers tiers) const;
  [[nodiscard]] std::optional<std::size_t> head(const Key& key, std::span<std::byte> to);
  // Brings the leading run of the chain that is stored into memory. Waits for the lower tiers.
  void load_now(std::span<const Key> chain);
  bool load(std::vector<Key> chain, std::chrono::milliseconds patience, std::function<void()> done);
  bool remove(const Key& key);
  std::uint64_t clear(const Selection& what);
  void resize(std::uint64_t capacity_bytes);

  bool flush(std::chrono::milliseconds time);
  void when_flushed(std::function<void(bool)> done);
  // Ends the lower tiers. RETURNS false if something that was removed or replaced may come back at the next start.
  bool close(std::chrono::milliseconds time);

  struct LoadStats {
    std::uint64_t skipped = 0, late = 0;   // computing was faster; loading took longer than it was given
    std::uint64_t unavailable = 0;         // look-ups of stored values that could not be read
  };
  [[nodiscard]] LoadStats load_stats() const;

 private:
  // After a miss in memory that began at `changes`.
  [[nodiscard]] Lookup find_below(const Key& key, std::uint64_t changes);
  [[nodiscard]] bool is_below(const Key& key) const;
  [[nodiscard]] bool has_children_below(const Key& key) const;
  [[nodiscard]] Lookup counted(Lookup lookup);
  [[nodiscard]] PutStatus replace(Reservation reservation, Handle* stored);
  void wait_for_room() const;
  std::uint64_t clear_from(std::size_t tier, const Selection& what, std::uint64_t* in_memory);
  // To the first `count` lower tiers.
  void write(const Handle& stored, std::size_t count);
  void write_with_parents(tier::LowerTier& tier, const Handle& stored);
  bool write_one(tier::LowerTier& tier, const Handle& handle);

  const std::shared_ptr<memory::MemoryTier> memory_;
  const std::function<std::int64_t()> unix_ms_;
  ChangeLock changes_;
  LowerTiers lower_;
  std::atomic<bool> dropped_{false};   // a value was not even queued, since flush() last told
  std::atomic<std::uint64_t> unavailable_{0};
  std::unique_ptr<Loader> loader_;   // null without lower tiers. After them: it stops reading before they go
};

}   // namespace tensorcache::cache
