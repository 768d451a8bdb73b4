// Where a key's value lies on disk, and which values are chained behind which. 76 bytes an entry,
// and 4 for the table.
//
// Threads: none of its own; the disk tier holds a lock around every call.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "tensorcache/types.h"
#include "tensorcache/key.h"

namespace tensorcache::disk {

// What entries of one kind, owner and source share.
struct EntryClass {
  Kind kind = Kind::kOther;
  std::uint64_t owner = 0;
  std::uint64_t source = 0;
  friend bool operator==(const EntryClass&, const EntryClass&) = default;
};

struct EntryClassHash {
  std::size_t operator()(const EntryClass& entry_class) const;
};

struct Place {
  std::uint32_t segment = 0;   // its id's low half; fewer than 2^32 are alive. 0: nowhere
  std::uint32_t unit = 0;      // offset of the record in the segment, in kAlignment bytes
  std::uint32_t value_bytes = 0;
  friend bool operator==(const Place&, const Place&) = default;
};

class Index {
 public:
  using Id = std::uint32_t;
  static constexpr Id kNone = 0;
  static constexpr std::uint16_t kMaxHits = (1 << 14) - 1;   // of Entry::hits

  struct Entry {
    Key key;
    Place place;   // of a free entry: nowhere
    Id parent = kNone, first_child = kNone, next_sibling = kNone, previous_sibling = kNone;
    Id next_in_bucket = kNone;   // of a free entry: the next free one; `previous_sibling` is the one before
    std::uint32_t tick = 0;      // of its last use; never above its parent's
    std::uint32_t entry_class = 0;
    std::uint16_t used : 1 = 0;      // since it was written (again)
    std::uint16_t expires : 1 = 0;   // its record says when
    std::uint16_t hits : 14 = 0;     // saturating
  };
  static_assert(sizeof(Entry) == 76, "every stored value pays for it");

  [[nodiscard]] Id find(const Key& key) const;
  [[nodiscard]] Entry& operator[](Id id) { return (*chunks_[id / kChunk])[id % kChunk]; }
  [[nodiscard]] const Entry& operator[](Id id) const { return (*chunks_[id / kChunk])[id % kChunk]; }
  [[nodiscard]] const EntryClass& class_of(Id id) const { return classes_[(*this)[id].entry_class].value; }

  // A key that is not indexed yet, behind `parent` or kNone, at a place in a segment. Allocates
  // nothing but for a new class after reserve(). Strong guarantee.
  Id insert(const Key& key, const Place& place, const EntryClass& entry_class, Id parent);
  // Hangs an entry that has no parent behind one.
  void adopt(Id id, Id parent);
  // Takes out an entry and all behind it, or `most` of them, the deepest first; `gone` sees each
  // before it goes. Allocates nothing.
  template <class Gone>
  void erase(Id id, std::size_t most, const Gone& gone) {
    for (Id at = deepest(id); most > 0; --most) {
      const Id up = (*this)[at].parent;
      gone(static_cast<const Index&>(*this), at);
      unlink(at);
      if (at == id) return;
      at = deepest(up);
    }
  }
  // Takes out everything and frees its memory.
  void clear() noexcept;
  // How many erase() takes out, `most` at most.
  [[nodiscard]] std::size_t count_behind(Id id, std::size_t most) const;
  // A use, now: the entry's and its ancestors' tick. Cheap where a chain is touched from its last
  // entry.
  void touch(Id id, std::uint32_t tick);

  [[nodiscard]] std::size_t size() const { return size_; }
  // What it has allocated, and what it will have with room for `more` entries of these classes.
  [[nodiscard]] std::uint64_t memory_bytes() const;
  [[nodiscard]] std::uint64_t memory_bytes_with(std::size_t more, std::span<const EntryClass> classes) const;
  // Room for so many insert().
  void reserve(std::size_t more);
  // How many insert() need no reserve().
  [[nodiscard]] std::size_t room() const { return chunks_.size() * kChunk - (chunks_.empty() ? 0 : 1) - size_; }
  // Moves entries together and frees memory that is not needed for them and `spare` more. Does a
  // bounded part of that work at a time: true while there is more to do. Entries get other ids.
  bool shrink(std::size_t spare);

  // Entries are numbered from 1 to end_id() - 1; some of them are free.
  [[nodiscard]] Id end_id() const { return static_cast<Id>(chunks_.size() * kChunk); }
  [[nodiscard]] bool is_entry(Id id) const { return id != kNone && (*this)[id].place.segment != 0; }
  template <class Visit>
  void for_each(const Visit& visit) const {   // must not change the index
    for (Id id = 1; id < end_id(); ++id) {
      if (is_entry(id)) visit(id);
    }
  }
  [[nodiscard]] std::size_t class_count() const { return numbers_.size(); }

 private:
  static constexpr Id kChunk = 1024;
  static constexpr std::uint32_t kNoClass = UINT32_MAX;
  using Chunk = std::array<Entry, kChunk>;
  using BucketChunk = std::array<Id, kChunk>;
  struct Class {
    EntryClass value;
    std::uint32_t entries = 0;   // of none: free, `next` is the next free one
    std::uint32_t next = 0;
  };

  [[nodiscard]] Id& head(std::size_t bucket) { return (*bucket_chunks_[bucket / kChunk])[bucket % kChunk]; }
  [[nodiscard]] Id head(std::size_t bucket) const { return (*bucket_chunks_[bucket / kChunk])[bucket % kChunk]; }
  [[nodiscard]] std::size_t bucket(const Key& key) const;
  [[nodiscard]] Id deepest(Id id) const {
    while (const Id child = (*this)[id].first_child) id = child;
    return id;
  }
  void unlink(Id id);
  void push_free(Id id);
  void take_free(Id id);
  [[nodiscard]] Id* link_to(Id id);
  void split_bucket();
  void merge_bucket();
  void move(Id from, Id to);
  [[nodiscard]] std::uint32_t take_class(const EntryClass& entry_class);
  void drop_class(std::uint32_t number);

  // The table grows and shrinks by one bucket at a time (linear hashing), so no call has to rehash
  // all of it.
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<std::unique_ptr<BucketChunk>> bucket_chunks_;
  std::size_t buckets_ = 0;
  std::vector<Class> classes_;
  std::unordered_map<EntryClass, std::uint32_t, EntryClassHash> numbers_;   // of live classes
  std::uint32_t free_class_ = kNoClass;
  Id free_ = kNone;
  std::size_t size_ = 0;
};

}   // namespace tensorcache::disk
