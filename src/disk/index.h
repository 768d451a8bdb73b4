// Where a key's value lies on disk, and which values are chained behind which. 72 bytes an entry, and 4 to 8 for the table.
//
// Threads: none of its own; the disk tier holds a lock around every call.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "tensorcache/cache.h"
#include "tensorcache/key.h"

namespace tensorcache::disk {

// What entries of one kind, owner and source share: a 16-bit number in each.
struct EntryClass {
  Kind kind = Kind::kOther;
  std::uint64_t owner = 0;
  std::uint64_t source = 0;
  friend bool operator==(const EntryClass&, const EntryClass&) = default;
};

struct Place {
  std::uint32_t segment = 0;   // its id's low half; fewer than 2^32 are alive
  std::uint32_t unit = 0;      // offset of the record in the segment, in kAlignment bytes
  std::uint32_t value_bytes = 0;
  friend bool operator==(const Place&, const Place&) = default;
};

class Index {
 public:
  using Id = std::uint32_t;
  static constexpr Id kNone = 0;

  struct Entry {
    Key key;
    Place place;
    Id parent = kNone, first_child = kNone, next_sibling = kNone, previous_sibling = kNone;
    Id next_in_bucket = kNone;   // of a free entry: the next free one
    std::uint32_t tick = 0;      // of its last use; never above its parent's
    std::uint16_t entry_class = 0;
    std::uint16_t used : 1 = 0;    // since it was written (again)
    std::uint16_t hits : 15 = 0;   // saturating
  };
  static_assert(sizeof(Entry) == 72, "every stored value pays for it");

  Index();
  [[nodiscard]] Id find(const Key& key) const;
  [[nodiscard]] Entry& operator[](Id id) { return (*chunks_[id / kChunk])[id % kChunk]; }
  [[nodiscard]] const Entry& operator[](Id id) const { return (*chunks_[id / kChunk])[id % kChunk]; }
  [[nodiscard]] const EntryClass& class_of(Id id) const { return classes_[(*this)[id].entry_class]; }

  // A key that is not there yet, behind `parent` or kNone. kNone: there are too many different classes (65,535).
  Id insert(const Key& key, const Place& place, const EntryClass& entry_class, Id parent);
  // Hangs an entry that has no parent behind one.
  void adopt(Id id, Id parent);
  // Takes out an entry and all behind it; `gone` sees each of them before it goes.
  template <class Gone>
  void erase(Id id, const Gone& gone) {
    for (Id at = deepest(id);;) {
      const Id up = (*this)[at].parent;
      gone(static_cast<const Index&>(*this), at);
      unlink(at);
      if (at == id) return;
      at = deepest(up);
    }
  }
  // A use, now: the entry's and its ancestors' tick. Cheap where a chain is touched from its last entry.
  void touch(Id id, std::uint32_t tick);

  [[nodiscard]] std::size_t size() const { return size_; }
  // What it has allocated, and what it will have after one more insert().
  [[nodiscard]] std::uint64_t memory_bytes() const { return chunks_.size() * sizeof(Chunk) + buckets_.size() * sizeof(Id); }
  [[nodiscard]] std::uint64_t memory_bytes_after_insert() const;

  template <class Visit>
  void for_each(const Visit& visit) const {   // must not change the index
    for (const Id head : buckets_) {
      for (Id id = head; id != kNone; id = (*this)[id].next_in_bucket) visit(id);
    }
  }

 private:
  static constexpr Id kChunk = 1024;
  using Chunk = std::array<Entry, kChunk>;

  [[nodiscard]] std::size_t bucket(const Key& key) const { return std::hash<Key>()(key) & (buckets_.size() - 1); }
  [[nodiscard]] Id deepest(Id id) const {
    while (const Id child = (*this)[id].first_child) id = child;
    return id;
  }
  void unlink(Id id);
  void grow();

  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<Id> buckets_;   // a power of two
  std::vector<EntryClass> classes_;
  Id free_ = kNone;
  std::size_t size_ = 0;
};

}   // namespace tensorcache::disk
