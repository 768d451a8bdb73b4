#include "store/cache/make_disk_tier.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "base/core/limits.h"

namespace tensorcache::cache {
namespace {

constexpr std::uint64_t kQueueShare = 2;   // of the memory

std::int64_t system_unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}   // namespace

std::function<std::int64_t()> wall_clock(const DiskOptions& options) { return options.unix_ms ? options.unix_ms : system_unix_ms; }

std::unique_ptr<disk::DiskTier> make_disk_tier(const DiskOptions& options, memory::MemoryTier& memory) {
  if (options.directory.empty()) throw std::invalid_argument("disk.directory: must not be empty");
  if (options.capacity_bytes < Limits::kMinDiskBytes) throw std::invalid_argument("disk.capacity_bytes: must be at least 1 MiB");
  const std::uint64_t memory_bytes = memory.stats().capacity_bytes;
  disk::DiskTierOptions tier;
  tier.directory = options.directory;
  tier.capacity_bytes = options.capacity_bytes;
  tier.sync = options.sync;
  tier.queue_bytes = options.queue_bytes > 0 ? options.queue_bytes : memory_bytes / kQueueShare;
  tier.segment_bytes = options.segment_bytes;
  tier.index_bytes_limit = memory_bytes / disk::DiskTier::kIndexShare;
  if (options.file_system) tier.files = options.file_system;
  tier.unix_ms = wall_clock(options);
  tier.on_event = options.on_event;
  tier.charge = [&memory](std::uint64_t bytes) { return memory.charge(bytes); };
  tier.give_back = [&memory](std::uint64_t bytes) { memory.give_back(bytes); };
  tier.in_memory = [&memory](const Key& key) { return memory.contains(key); };
  return std::make_unique<disk::DiskTier>(std::move(tier));
}

}   // namespace tensorcache::cache
