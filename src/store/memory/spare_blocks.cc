#include "store/memory/spare_blocks.h"

#include <cstdlib>

#include "store/memory/layout.h"
#include "store/memory/thread_number.h"

namespace tensorcache::memory {

void* SpareBlocks::take(std::size_t block_bytes) {
  Shelf& shelf = own();
  if (shelf.count.load(std::memory_order_relaxed) == 0) return nullptr;
  const SpinLock lock(shelf.mutex);
  const std::size_t count = shelf.count.load(std::memory_order_relaxed);
  for (std::size_t i = count; i-- > 0;) {
    const Spare found = shelf.spares[i];
    if (found.bytes != block_bytes) continue;
    shelf.spares[i] = shelf.spares[count - 1];
    shelf.count.store(count - 1, std::memory_order_relaxed);
    shelf.charged_bytes -= Layout::taken_by(found.block);
    return found.block;
  }
  return nullptr;
}

SpareBlocks::Shelf& SpareBlocks::own() { return shelves_[thread_number() % kShelves]; }

bool SpareBlocks::keep(void* block, std::size_t block_bytes) {
  const std::uint64_t charge = Layout::taken_by(block);
  Shelf& shelf = own();
  const SpinLock lock(shelf.mutex);
  const std::size_t count = shelf.count.load(std::memory_order_relaxed);
  // Under the lock: whoever made the budget smaller takes it next, and finds what is kept.
  if (count == kBlocks || budget_.over() || shelf.charged_bytes + charge > budget_.capacity() / kShare) return false;
  shelf.spares[count] = {block, block_bytes};
  shelf.count.store(count + 1, std::memory_order_relaxed);
  shelf.charged_bytes += charge;
  return true;
}

bool SpareBlocks::release_own(std::uint64_t wanted_bytes) { return release(own(), wanted_bytes); }

bool SpareBlocks::release_all() {
  bool released = false;
  for (Shelf& shelf : shelves_) released |= release(shelf, ~std::uint64_t{0});
  return released;
}

std::uint64_t SpareBlocks::charged_bytes() const {
  std::uint64_t bytes = 0;
  for (const Shelf& shelf : shelves_) {
    const SpinLock lock(shelf.mutex);
    bytes += shelf.charged_bytes;
  }
  return bytes;
}

bool SpareBlocks::release(Shelf& shelf, std::uint64_t wanted_bytes) {
  std::uint64_t released = 0;
  const SpinLock lock(shelf.mutex);
  std::size_t count = shelf.count.load(std::memory_order_relaxed);
  while (count > 0 && released < wanted_bytes) {
    void* const block = shelf.spares[--count].block;
    const std::uint64_t charge = Layout::taken_by(block);
    std::free(block);
    released += charge;
  }
  shelf.count.store(count, std::memory_order_relaxed);
  shelf.charged_bytes -= released;
  budget_.give_back(released);   // the bytes are free before they may be charged again
  return released > 0;
}

}   // namespace tensorcache::memory
