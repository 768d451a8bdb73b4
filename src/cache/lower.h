// The disk under the memory: what is stored goes down, what is missing comes up.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "cache/loader.h"
#include "disk/disk_tier.h"
#include "tensorcache/cache.h"
#include "tier/memory_tier.h"

namespace tensorcache {

// Threads: all members from any thread.
struct Cache::Lower {
  // Throws what DiskTier throws.
  Lower(const DiskOptions& options, std::shared_ptr<detail::MemoryTier> memory);

  // A value that was just stored in memory goes down as well, after those it is chained behind that are not there.
  void write(const Handle& stored);

  // Whether a value was not even queued since this was last asked.
  [[nodiscard]] bool dropped() { return dropped_.exchange(false); }

 private:
  static disk::DiskTierOptions tier_options(const DiskOptions& options, const std::shared_ptr<detail::MemoryTier>& memory);
  bool put(const Handle& handle);
  std::atomic<bool> dropped_{false};   // since it was last told
  const std::shared_ptr<detail::MemoryTier> memory_;
  const std::function<std::int64_t()> unix_ms_;

 public:
  disk::DiskTier disk;
  Loader loader;   // after the disk: stops reading before that goes
};

}   // namespace tensorcache
