// How much memory a value takes, and where it lies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tier/buffer_pool.h"
#include "tier/entry.h"
#include "tier/memory_tier.h"

namespace tensorcache::detail {

struct MemoryTier::Layout {
  // What malloc may take beside an aligned block: its header and the gap in front.
  static constexpr std::size_t kMallocOverheadBytes = alignof(Entry);

  explicit Layout(std::size_t value_bytes)
      : block_bytes(sizeof(Entry)), buffer_bytes(value_bytes >= BufferPool::kSmallestBytes ? BufferPool::rounded(value_bytes) : 0) {
    if (buffer_bytes == 0) block_bytes += (value_bytes + alignof(Entry) - 1) / alignof(Entry) * alignof(Entry);
  }
  [[nodiscard]] std::uint64_t block_charge() const { return block_bytes + kMallocOverheadBytes; }
  [[nodiscard]] std::uint64_t charge() const { return block_charge() + buffer_bytes; }

  std::size_t block_bytes;    // the entry, and behind it a value that is not large
  std::size_t buffer_bytes;   // a large value's own buffer
};

}   // namespace tensorcache::detail
