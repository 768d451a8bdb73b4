// Makes the disk tier from a cache's options; its memory is charged to the memory tier.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "store/disk/disk_tier.h"
#include "store/memory/memory_tier.h"
#include "tensorcache/types.h"

namespace tensorcache::cache {

// Throws std::invalid_argument that names the option, and what DiskTier's constructor throws.
// REQUIRES: `memory` outlives the tier.
[[nodiscard]] std::unique_ptr<disk::DiskTier> make_disk_tier(const DiskOptions& options, memory::MemoryTier& memory);
// RETURNS the wall clock of `options`, or the system's.
[[nodiscard]] std::function<std::int64_t()> wall_clock(const DiskOptions& options);

}   // namespace tensorcache::cache
