// The disk under the memory: what is stored goes down, what is missing comes up.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "store/cache/loader.h"
#include "store/disk/disk_tier.h"
#include "tensorcache/cache.h"
#include "store/memory/memory_tier.h"

namespace tensorcache {

// Threads: all members from any thread.
struct Cache::Lower {
  // Of the memory, what the disk's index may take at most.
  static constexpr std::uint64_t kIndexShare = 2;

  // Throws what DiskTier throws.
  Lower(const DiskOptions& options, std::shared_ptr<memory::MemoryTier> memory);

  // After a miss in memory that began at `changes` (Loader::changes): the value from disk; or whether it is stored at all.
  [[nodiscard]] Lookup find(const Key& key, std::uint64_t changes);
  [[nodiscard]] bool contains(const Key& key, std::uint64_t changes);

  // A value that was just stored in memory goes down as well, after those it is chained behind that are not there.
  void write(const Handle& stored);
  // Takes the place of what is stored, in both tiers. With `stored`, hands out the new value.
  PutStatus replace(Reservation draft, Handle* stored);
  bool remove(const Key& key);
  std::uint64_t clear(const Selection& what);

  // Whether a value was not even queued since this was last asked.
  [[nodiscard]] bool dropped() { return dropped_.exchange(false); }
  // Lookups of stored values that could not be read.
  [[nodiscard]] std::uint64_t unavailable() const { return unavailable_.load(std::memory_order_relaxed); }

 private:
  static disk::DiskTierOptions tier_options(const DiskOptions& options, const std::shared_ptr<memory::MemoryTier>& memory);
  [[nodiscard]] Lookup counted(Lookup lookup);
  void write_with_parents(const Handle& stored);
  bool put(const Handle& handle);
  std::atomic<bool> dropped_{false};   // since it was last told
  std::atomic<std::uint64_t> unavailable_{0};
  const std::shared_ptr<memory::MemoryTier> memory_;
  const std::function<std::int64_t()> unix_ms_;

 public:
  disk::DiskTier disk;
  cache::Loader loader;   // after the disk: stops reading before that goes
};

}   // namespace tensorcache
