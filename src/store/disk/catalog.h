// What is stored, and where: the index over the segments, with the counts of both kept in step.
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
  // Where the key's value is; its tick, its hits and its marks may be changed.
  [[nodiscard]] Index::Entry& operator[](Id id) { return index_[id]; }
  [[nodiscard]] const Index::Entry& operator[](Id id) const { return index_[id]; }
  [[nodiscard]] SegmentTable& segments() { return segments_; }
  [[nodiscard]] const SegmentTable& segments() const { return segments_; }
  [[nodiscard]] std::uint64_t value_bytes() const { return value_bytes_; }
  // Whether the key's value is the one of the record at this place.
  [[nodiscard]] bool holds(const Key& key, const Place& place) const;

  // REQUIRES: the place's segment is there. Strong guarantee.
  Id insert(const Key& key, const Place& place, const EntryClass& entry_class, Id parent);
  void move(Id id, const Place& place);
  void adopt(Id id, Id parent) { index_.adopt(id, parent); }
  void touch(Id id, std::uint32_t tick) { index_.touch(id, tick); }
  // Takes out an entry with what is chained behind it, or `most` of that, by a removal. `places`
  // gets where they were, as far as it has room; `seen` gets the class of each. RETURNS: how many.
  std::uint64_t erase(Id id, std::vector<Place>* places = nullptr, std::size_t most = SIZE_MAX,
                      const std::function<void(const EntryClass&)>& seen = {}) noexcept;
  // Takes out an entry with what is chained behind it, while the records are still in the log: they
  // count as unlisted, but for those in the segment `going`, which go with it. RETURNS: how many.
  std::uint64_t forget(Id id, SegmentTable::Id going = 0) noexcept;
  // Takes out all entries. `dropped` gets them, to be freed with no lock held.
  void erase_all(Index& dropped) noexcept;
  // Likewise, and all segments.
  void reset(Index& dropped, SegmentTable& segments) noexcept;

  // Memory for entries: as Index's.
  void reserve(std::size_t more) { index_.reserve(more); }
  bool shrink(std::size_t spare) { return index_.shrink(spare); }

 private:
  Index index_;
  SegmentTable segments_;
  std::uint64_t value_bytes_ = 0;
};

}   // namespace tensorcache::disk
