// The memory layout and size of an entry.
#pragma once

#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "store/memory/buffer_pool.h"
#include "store/memory/entry.h"

namespace tensorcache::memory {

class Layout {
 public:
  static constexpr std::size_t kLineBytes = 64, kMallocBytes = 16;   // malloc's own alignment

  // `pooled`: a large value gets a buffer of its own.
  explicit Layout(std::size_t value_bytes, bool pooled)
      : buffer_bytes(pooled ? BufferPool::rounded(value_bytes) : 0),
        entry_at(pooled ? kLineBytes : (value_bytes + kLineBytes - 1) / kLineBytes * kLineBytes) {}
  explicit Layout(std::size_t value_bytes) : Layout(value_bytes, value_bytes >= BufferPool::kSmallestBytes) {}
  static Layout of(const Entry& entry) { return Layout(entry.value_bytes(), entry.has(kPooled)); }

  // Null if there is no memory. Goes back with std::free. Room for the first line is asked for
  // here: what glibc's posix_memalign cuts off an aligned block, 96 bytes in all, stays in its
  // lists of small chunks, and no budget sees it.
  [[nodiscard]] void* new_block() const {
    void* block = nullptr;
    return ::posix_memalign(&block, kMallocBytes, block_bytes()) == 0 ? block : nullptr;
  }
  [[nodiscard]] static std::byte* first_line(void* block) {
    const auto address = reinterpret_cast<std::uintptr_t>(block);
    return static_cast<std::byte*>(block) + (0 - address) % kLineBytes;
  }
  [[nodiscard]] static std::uint64_t taken_by(void* block) { return ::malloc_usable_size(block) + sizeof(void*); }
  [[nodiscard]] Entry* place_entry(void* block) const {
    auto* entry = new (first_line(block) + entry_at) Entry;
    entry->shift = static_cast<std::uint8_t>((first_line(block) - static_cast<std::byte*>(block)) / kMallocBytes) & 0xf;
    return entry;
  }
  [[nodiscard]] void* block_of(Entry& entry) const { return reinterpret_cast<std::byte*>(&entry) - entry_at - entry.shift * kMallocBytes; }
  [[nodiscard]] std::size_t block_bytes() const { return entry_at + sizeof(Entry) + kLineBytes - kMallocBytes; }
  [[nodiscard]] std::uint64_t block_charge() const { return block_bytes() + sizeof(void*); }
  [[nodiscard]] std::uint64_t charge() const { return block_charge() + buffer_bytes; }

  std::size_t buffer_bytes;   // 0: the value is in the block
  std::size_t entry_at;       // in the block
};

// The value of an entry.
[[nodiscard]] inline std::byte* data_of(const Entry& entry) {
  auto* const here = reinterpret_cast<std::byte*>(const_cast<Entry*>(&entry));
  if (!entry.has(kPooled)) return here - Layout(entry.value_bytes(), false).entry_at;
  std::byte* buffer = nullptr;
  std::memcpy(&buffer, here - Layout::kLineBytes, sizeof buffer);
  return buffer;
}

}   // namespace tensorcache::memory
