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

Index::Id DiskTier::insert_locked(const Key& key, const Place& place, const EntryClass& entry_class, Index::Id parent) {
  const Index::Id id = index_.insert(key, place, entry_class, parent);
  counters_.value_bytes += place.value_bytes;
  ++segments_.at(place.segment).live;
  return id;
}

void DiskTier::move_locked(Index::Id id, const Place& place) {
  Segment& to = segments_.at(place.segment);
  --segments_.at(index_[id].place.segment).live;
  index_[id].place = place;
  ++to.live;
}

std::uint64_t DiskTier::erase_locked(Index::Id id, std::vector<Place>* places, std::size_t most,
                                     const std::function<void(const EntryClass&)>& seen) noexcept {
  std::uint64_t gone = 0;
  index_.erase(id, most, [&](const Index& index, Index::Id each) {
    if (seen) seen(index.class_of(each));
    const Place& place = index[each].place;
    if (places != nullptr && places->size() < places->capacity()) places->push_back(place);
    counters_.value_bytes -= place.value_bytes;
    if (const auto segment = segments_.find(place.segment); segment != segments_.end()) --segment->second.live;
    ++gone;
  });
  return gone;
}

std::uint64_t DiskTier::forget_locked(Index::Id id, std::uint32_t going) noexcept {
  std::uint64_t gone = 0;
  index_.erase(id, SIZE_MAX, [&](const Index& index, Index::Id each) {
    const Place& place = index[each].place;
    counters_.value_bytes -= place.value_bytes;
    if (const auto segment = segments_.find(place.segment); segment != segments_.end()) --segment->second.live;
    if (place.segment != going) unlist_locked(place.segment, 1);
    ++gone;
  });
  return gone;
}

void DiskTier::unlist_locked(std::uint32_t id, std::uint64_t records) noexcept {
  const auto segment = segments_.find(id);
  if (segment == segments_.end()) return;
  segment->second.unlisted += records;
  unlisted_ += records;
}

// All entries, in slices between which others get the mutex. Only the writing thread inserts or moves entries, so it misses none.
void DiskTier::walk_index(const std::function<bool(Index::Id)>& visit) {
  for (Index::Id begin = 1;;) {
    {
      const std::lock_guard lock(mutex_);
      const Index::Id end = std::min(index_.end_id(), begin + kSlice);
      for (; begin < end; ++begin) {
        if (index_.is_entry(begin) && !visit(begin)) return;
      }
      if (begin >= index_.end_id()) return;
    }
    std::this_thread::yield();
  }
}

// All entries that point into a segment, and those behind them. `stays`: the file does.
std::uint64_t DiskTier::forget_segment(std::uint32_t id, bool stays) {
  std::uint64_t gone = 0;
  walk_index([&](Index::Id each) {
    const auto segment = segments_.find(id);
    if (segment == segments_.end() || segment->second.live == 0) return false;
    if (index_[each].place.segment == id) gone += forget_locked(each, stays ? 0 : id);
    return true;
  });
  return gone;
}

// Takes the memory for so many more entries before they are written, so that no value is written without an entry.
DiskTier::Room DiskTier::grow_index(std::span<const EntryClass> classes) {
  std::uint64_t needed = 0;
  {
    const std::lock_guard lock(mutex_);
    needed = std::max(index_.memory_bytes(), index_.memory_bytes_with(classes.size(), classes));
    if (needed > index_limit_) return Room::kLimit;
  }
  if (needed > charged_) {
    if (options_.charge && !options_.charge(needed - charged_)) return Room::kRefused;
    const std::lock_guard lock(mutex_);
    charged_ = needed;
  }
  const std::lock_guard lock(mutex_);
  index_.reserve(classes.size());
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
    const std::lock_guard lock(mutex_);
    room = std::min(index_.room(), classes.size());
  }
  return reserve_entries(classes.first(room)) ? room : 0;
}

// True while there is more to do.
bool DiskTier::shrink_index(std::size_t spare) {
  bool more = false;
  std::uint64_t back = 0;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return clearing_walks_ == 0; });   // it would miss entries that move
    more = index_.shrink(spare);
    const std::uint64_t needed = index_.memory_bytes();
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
    const std::lock_guard lock(mutex_);
    size = index_.size();
    roomy = index_.room() > size / 2 + kMinSpare || index_.memory_bytes() < charged_ / 2 || (size == 0 && charged_ > 0);
    over = index_.memory_bytes() > index_limit_;
    return roomy || over;
  };
  while (look()) {
    while (shrink_index(over || size == 0 ? 0 : size / 4)) {
    }
    {
      const std::lock_guard lock(mutex_);
      if (index_.memory_bytes() <= index_limit_) return;
    }
    if (broken() || !evict_oldest(true)) return;
  }
}

}   // namespace tensorcache::disk
