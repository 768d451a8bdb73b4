// The disk under the memory: what is stored goes down, what is missing comes up.
#pragma once

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

 private:
  static disk::DiskTierOptions tier_options(const DiskOptions& options, const std::shared_ptr<detail::MemoryTier>& memory);
  bool put(const Handle& handle);
  const std::shared_ptr<detail::MemoryTier> memory_;

 public:
  disk::DiskTier disk;
  Loader loader;   // after the disk: stops reading before that goes
};

}   // namespace tensorcache
