#include "store/memory/entry_memory.h"

#include <malloc.h>

namespace tensorcache::memory {

std::byte* EntryMemory::map(std::size_t buffer_bytes) {
  try {
    if (std::byte* fresh = pool_.map(buffer_bytes)) return fresh;
  } catch (const std::bad_alloc&) {
    budget_.give_back(buffer_bytes);
    throw;
  }
  budget_.give_back(buffer_bytes);
  return nullptr;
}

void* EntryMemory::new_block(const Layout& layout) {
  void* const block = layout.new_block();
  if (block != nullptr) return block;
  budget_.give_back(layout.block_charge());
  throw std::bad_alloc();
}

Entry* EntryMemory::place(void* block, std::byte* buffer, const Layout& layout) {
  Entry* entry = layout.place_entry(block);
  entry->charge_bytes = Layout::taken_by(block) + layout.buffer_bytes;
  if (buffer != nullptr) {
    std::memcpy(Layout::first_line(block), &buffer, sizeof buffer);
    entry->state.set_trait(kPooled);
  }
  return entry;
}

void EntryMemory::free(Entry* entry, Spare spare) {
  const Layout layout = Layout::of(*entry);
  if (layout.buffer_bytes != 0) pool_.put(data_of(*entry), layout.buffer_bytes);
  const std::uint64_t charged = entry->has(kDetached) ? 0 : entry->charge_bytes - layout.buffer_bytes;
  void* const block = layout.block_of(*entry);
  entry->~Entry();
  if (spare == Spare::kYes && charged != 0 && spares_.keep(block, layout.block_bytes())) return;
  std::free(block);
  budget_.give_back(charged);   // the bytes are free before they may be charged again
}

void EntryMemory::release_all() {
  pool_.release(~std::uint64_t{0});
  spares_.release_all();
}

// malloc keeps what is freed below the top of its heaps until it is told. That takes some 0.1 s for
// a GiB, so not for a little.
void EntryMemory::trim_malloc([[maybe_unused]] std::uint64_t used_before) const {
#if defined(__GLIBC__)
  constexpr std::uint64_t kMinBytes = std::uint64_t{8} << 20;
  if (budget_.used() + kMinBytes <= used_before) ::malloc_trim(0);
#endif
}

}   // namespace tensorcache::memory
