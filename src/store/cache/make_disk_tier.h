// The disk tier as a cache's options describe it, with the memory tier it is charged to.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "store/disk/disk_tier.h"
#include "store/memory/memory_tier.h"
#include "tensorcache/types.h"

namespace tensorcache::cache {

// Throws std::invalid_argument that names the option, and what DiskTier's constructor throws. REQUIRES that the memory outlives the tier.
[[nodiscard]] std::unique_ptr<disk::DiskTier> make_disk_tier(const DiskOptions& options, memory::MemoryTier& memory);
// Wall time, by `options` or the system's clock.
[[nodiscard]] std::function<std::int64_t()> wall_clock(const DiskOptions& options);

}   // namespace tensorcache::cache
