// Memory for entries, charged to the budget: blocks from malloc, for large values also a buffer,
// and both kept for the next entries when they come back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "store/memory/budget.h"
#include "store/memory/buffer_pool.h"
#include "store/memory/entry.h"
#include "store/memory/layout.h"
#include "store/memory/spare_blocks.h"

namespace tensorcache::memory {

// THREADS: all members from any thread.
class EntryMemory {
 public:
  explicit EntryMemory(Budget& budget) : budget_(budget) {}
  EntryMemory(const EntryMemory&) = delete;
  EntryMemory& operator=(const EntryMemory&) = delete;

  // A new entry without a key. `free_some(bytes)` is called while the budget has no room, and says
  // whether it gave any back. Null: it did not. Throws std::bad_alloc.
  template <class FreeSome>
  [[nodiscard]] Entry* allocate(const Layout& layout, const FreeSome& free_some);
  enum class Spare : bool { kNo, kYes };   // whether the block is kept for the next entry
  void free(Entry* entry, Spare spare);

  // Gives kept memory back to the budget, at least `wanted_bytes` if there is so much: what the
  // calling thread keeps, and idle buffers. False: there was none.
  bool release_own(std::uint64_t wanted_bytes) { return spares_.release_own(wanted_bytes) || pool_.release(wanted_bytes); }
  // What other threads keep, who are about to need it.
  bool release_others() { return spares_.release_all(); }
  void release_all();
  [[nodiscard]] std::uint64_t idle_bytes() const { return pool_.idle_bytes() + spares_.charged_bytes(); }
  // Has malloc return its free memory to the system if much less is used than before.
  void trim_malloc(std::uint64_t used_before) const;

 private:
  // Null: no room.
  template <class FreeSome>
  [[nodiscard]] std::byte* obtain_buffer(std::size_t buffer_bytes, const FreeSome& free_some);
  template <class FreeSome>
  [[nodiscard]] void* obtain_block(const Layout& layout, const FreeSome& free_some);
  [[nodiscard]] std::byte* map(std::size_t buffer_bytes);   // charged already; its charge goes with it
  [[nodiscard]] void* new_block(const Layout& layout);      // likewise
  [[nodiscard]] static Entry* place(void* block, std::byte* buffer, const Layout& layout);

  Budget& budget_;
  BufferPool pool_{budget_};
  SpareBlocks spares_{budget_};
};

template <class FreeSome>
std::byte* EntryMemory::obtain_buffer(std::size_t buffer_bytes, const FreeSome& free_some) {
  for (std::uint64_t wanted_bytes = buffer_bytes;;) {
    if (std::byte* idle = pool_.take(buffer_bytes)) return idle;
    if (budget_.try_charge(buffer_bytes)) {
      if (std::byte* fresh = map(buffer_bytes)) return fresh;
      wanted_bytes += Regions::kAccountBytes;
    }
    if (!free_some(wanted_bytes)) return nullptr;
  }
}

template <class FreeSome>
void* EntryMemory::obtain_block(const Layout& layout, const FreeSome& free_some) {
  for (;;) {
    if (void* spare = spares_.take(layout.block_bytes())) return spare;
    if (budget_.try_charge(layout.block_charge())) break;
    if (!free_some(layout.block_charge())) return nullptr;
  }
  void* block = new_block(layout);
  const std::uint64_t extra = Layout::taken_by(block) - layout.block_charge();   // malloc may give a little more than it was asked for
  while (extra > 0 && !budget_.try_charge(extra)) {
    if (free_some(extra)) continue;
    std::free(block);
    budget_.give_back(layout.block_charge());
    return nullptr;
  }
  return block;
}

template <class FreeSome>
Entry* EntryMemory::allocate(const Layout& layout, const FreeSome& free_some) {
  std::byte* buffer = nullptr;
  if (layout.buffer_bytes != 0) {
    buffer = obtain_buffer(layout.buffer_bytes, free_some);
    if (buffer == nullptr) return nullptr;
  }
  void* block = nullptr;
  try {
    block = obtain_block(layout, free_some);
  } catch (const std::bad_alloc&) {
    if (buffer != nullptr) pool_.put(buffer, layout.buffer_bytes);
    throw;
  }
  if (block != nullptr) return place(block, buffer, layout);
  if (buffer != nullptr) pool_.put(buffer, layout.buffer_bytes);
  return nullptr;
}

}   // namespace tensorcache::memory
