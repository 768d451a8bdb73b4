// The index over the segments; keeps the entry counts of both consistent.
//
// THREADS: none of its own; the disk tier holds its mutex around every call.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "store/disk/index.h"
#include "store/disk/segment_table.h"

namespace tensorcache::disk {

class Catalog {
 public:
  using Id = Index::Id;
  [[nodiscard]] const Index& index() const { return index_; }
  [[nodiscard]] Id find(const Key& key) const { return index_.find(key); }
  // REQUIRES: the caller changes only the tick, hits and marks of the entry.
  [[nodiscard]] Index::Entry& operator[](Id id) { return index_[id]; }
  [[nodiscard]] const Index::Entry& operator[](Id id) const { return index_[id]; }
  [[nodiscard]] SegmentTable& segments() { return segments_; }
  [[nodiscard]] const SegmentTable& segments() const { return segments_; }
  [[nodiscard]] std::uint64_t value_bytes() const { return value_bytes_; }
  // RETURNS true if the key's value is the record at this place.
  [[nodiscard]] bool holds(const Key& key, const Place& place) const;

  // REQUIRES: the place's segment exists. Strong exception guarantee.
  Id insert(const Key& key, const Place& place, const EntryClass& entry_class, Id parent);
  void move(Id id, const Place& place);
  void adopt(Id id, Id parent) { index_.adopt(id, parent); }
  void touch(Id id, std::uint32_t tick) { index_.touch(id, tick); }
  // Erases an entry and its descendants, at most `most` of them, for a removal. `places` receives
  // their places up to its capacity; `seen` is called with the class of each. RETURNS: the number
  // of erased entries.
  std::uint64_t erase(Id id, std::vector<Place>* places = nullptr, std::size_t most = SIZE_MAX,
                      const std::function<void(const EntryClass&)>& seen = {}) noexcept;
  // Erases an entry and its descendants whose records stay in the log: they count as unlisted,
  // except those in the segment `going`, which is deleted. RETURNS: the number of erased entries.
  std::uint64_t forget(Id id, SegmentTable::Id going = 0) noexcept;
  // Erases all entries. `dropped` receives them, to be freed without the lock.
  void erase_all(Index& dropped) noexcept;
  // Erases all entries and all segments.
  void reset(Index& dropped, SegmentTable& segments) noexcept;

  // Reserves memory for entries, see Index::reserve.
  void reserve(std::size_t more) { index_.reserve(more); }
  bool shrink(std::size_t spare) { return index_.shrink(spare); }

 private:
  Index index_;
  SegmentTable segments_;
  std::uint64_t value_bytes_ = 0;
};

}   // namespace tensorcache::disk
