// Memory of the index: charged before it is allocated, returned when entries are erased; evicts
// segments when the limit is reached.
#include <algorithm>

#include "store/disk/segment_log.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kMinSpare = 4096;   // free entries that are not returned

}   // namespace

// Reserves memory for entries before their values are written, so that no value is written without
// an entry.
SegmentLog::Room SegmentLog::grow_index(std::span<const EntryClass> classes) {
  std::uint64_t needed = 0, charged = 0;
  {
    const MutexLock lock(state_.mutex);
    needed = std::max(state_.catalog.index().memory_bytes(), state_.catalog.index().memory_bytes_with(classes.size(), classes));
    if (needed > state_.index_limit) return Room::kLimit;
    charged = state_.charged;
  }
  if (needed > charged) {
    if (state_.options.charge && !state_.options.charge(needed - charged)) return Room::kRefused;
    const MutexLock lock(state_.mutex);
    state_.charged = needed;
  }
  const MutexLock lock(state_.mutex);
  state_.catalog.reserve(classes.size());
  return Room::kYes;
}

bool SegmentLog::reserve_entries(std::span<const EntryClass> classes) {
  for (;;) {
    const Room room = grow_index(classes);
    if (room != Room::kLimit) return room == Room::kYes;
    while (shrink_index(classes.size())) {
    }
    if (grow_index(classes) == Room::kYes) return true;
    if (!evict_oldest(true)) return false;
  }
}

// RETURNS the number of leading classes for whose entries memory was reserved.
std::size_t SegmentLog::reserve_some_entries(std::span<const EntryClass> classes) {
  if (reserve_entries(classes)) return classes.size();
  std::size_t room = 0;
  {
    const MutexLock lock(state_.mutex);
    room = std::min(state_.catalog.index().room(), classes.size());
  }
  return reserve_entries(classes.first(room)) ? room : 0;
}

// RETURNS true while there is more to do.
bool SegmentLog::shrink_index(std::size_t spare) {
  bool more = false;
  std::uint64_t back = 0;
  {
    const MutexLock lock(state_.mutex);
    state_.changed.wait(state_.mutex,
                        [this]() TC_REQUIRES(state_.mutex) { return state_.clearing_walks == 0; });   // a running walk would miss renumbered entries
    more = state_.catalog.shrink(spare);
    const std::uint64_t needed = state_.catalog.index().memory_bytes();
    if (needed < state_.charged) {
      back = state_.charged - needed;
      state_.charged = needed;
    }
  }
  state_.give_back(back);
  return more;
}

// Returns the memory of erased entries, and evicts segments if the index exceeds its limit.
void SegmentLog::trim_index() {
  std::size_t size = 0;
  bool roomy = false, over = false;
  const auto look = [&] {
    const MutexLock lock(state_.mutex);
    size = state_.catalog.index().size();
    roomy = state_.catalog.index().room() > size / 2 + kMinSpare || state_.catalog.index().memory_bytes() < state_.charged / 2 ||
            (size == 0 && state_.charged > 0);
    over = state_.catalog.index().memory_bytes() > state_.index_limit;
    return roomy || over;
  };
  while (look()) {
    while (shrink_index(over || size == 0 ? 0 : size / 4)) {
    }
    {
      const MutexLock lock(state_.mutex);
      if (state_.catalog.index().memory_bytes() <= state_.index_limit) return;
    }
    if (state_.broken() || !evict_oldest(true)) return;
  }
}

}   // namespace tensorcache::disk
