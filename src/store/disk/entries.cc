// The index, with the counts that go with it: what is live in a segment, what a segment holds without an entry, and the memory.
#include <algorithm>
#include <thread>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr Index::Id kSlice = 4096;        // entries of one walk under the mutex
constexpr std::size_t kMinSpare = 4096;   // entries that an index may have room for

}   // namespace

void DiskTier::give_back(std::uint64_t bytes) const {
  if (bytes > 0 && options_.give_back) options_.give_back(bytes);
}

// All entries, in slices between which others get the mutex. Only the writing thread inserts or moves entries, so it misses none.
void DiskTier::walk_index(const std::function<bool(Index::Id)>& visit) {
  for (Index::Id begin = 1;;) {
    {
      const MutexLock lock(mutex_);
      const Index::Id end = std::min(catalog_.index().end_id(), begin + kSlice);
      for (; begin < end; ++begin) {
        if (catalog_.index().is_entry(begin) && !visit(begin)) return;
      }
      if (begin >= catalog_.index().end_id()) return;
    }
    std::this_thread::yield();
  }
}

// All entries that point into a segment, and those behind them. `stays`: the file does.
std::uint64_t DiskTier::forget_segment(std::uint32_t id, bool stays) {
  std::uint64_t gone = 0;
  walk_index([&](Index::Id each) TC_REQUIRES(mutex_) {
    Segment* const segment = catalog_.segments().find(id);
    if (segment == nullptr || segment->live() == 0) return false;
    if (catalog_[each].place.segment == id) gone += catalog_.forget(each, stays ? 0 : id);
    return true;
  });
  return gone;
}

// Takes the memory for so many more entries before they are written, so that no value is written without an entry.
DiskTier::Room DiskTier::grow_index(std::span<const EntryClass> classes) {
  std::uint64_t needed = 0, charged = 0;
  {
    const MutexLock lock(mutex_);
    needed = std::max(catalog_.index().memory_bytes(), catalog_.index().memory_bytes_with(classes.size(), classes));
    if (needed > index_limit_) return Room::kLimit;
    charged = charged_;
  }
  if (needed > charged) {
    if (options_.charge && !options_.charge(needed - charged)) return Room::kRefused;
    const MutexLock lock(mutex_);
    charged_ = needed;
  }
  const MutexLock lock(mutex_);
  catalog_.reserve(classes.size());
  return Room::kYes;
}

bool DiskTier::reserve_entries(std::span<const EntryClass> classes) {
  for (;;) {
    const Room room = grow_index(classes);
    if (room != Room::kLimit) return room == Room::kYes;
    while (shrink_index(classes.size())) {
    }
    if (grow_index(classes) == Room::kYes) return true;
    if (!evict_oldest(true)) return false;
  }
}

// For as many of these, from the first on, as there is memory.
std::size_t DiskTier::reserve_some_entries(std::span<const EntryClass> classes) {
  if (reserve_entries(classes)) return classes.size();
  std::size_t room = 0;
  {
    const MutexLock lock(mutex_);
    room = std::min(catalog_.index().room(), classes.size());
  }
  return reserve_entries(classes.first(room)) ? room : 0;
}

// True while there is more to do.
bool DiskTier::shrink_index(std::size_t spare) {
  bool more = false;
  std::uint64_t back = 0;
  {
    const MutexLock lock(mutex_);
    changed_.wait(mutex_, [this]() TC_REQUIRES(mutex_) { return clearing_walks_ == 0; });   // it would miss entries that move
    more = catalog_.shrink(spare);
    const std::uint64_t needed = catalog_.index().memory_bytes();
    if (needed < charged_) {
      back = charged_ - needed;
      charged_ = needed;
    }
  }
  give_back(back);
  return more;
}

// Gives back the memory of entries that went, and evicts where the index may have less than it has.
void DiskTier::trim_index() {
  std::size_t size = 0;
  bool roomy = false, over = false;
  const auto look = [&] {
    const MutexLock lock(mutex_);
    size = catalog_.index().size();
    roomy = catalog_.index().room() > size / 2 + kMinSpare || catalog_.index().memory_bytes() < charged_ / 2 || (size == 0 && charged_ > 0);
    over = catalog_.index().memory_bytes() > index_limit_;
    return roomy || over;
  };
  while (look()) {
    while (shrink_index(over || size == 0 ? 0 : size / 4)) {
    }
    {
      const MutexLock lock(mutex_);
      if (catalog_.index().memory_bytes() <= index_limit_) return;
    }
    if (broken() || !evict_oldest(true)) return;
  }
}

}   // namespace tensorcache::disk
