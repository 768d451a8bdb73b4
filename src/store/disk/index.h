// The index: where each key's value is on disk, and its children. 76 bytes per entry, plus 4 for
// the table.
//
// THREADS: none of its own; the disk tier holds a lock around every call.
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

// Fields that many entries share: kind, owner and source.
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
  std::uint32_t segment = 0;   // low half of its id; fewer than 2^32 are alive. 0: none
  std::uint32_t unit = 0;      // offset of the record in the segment, in units of kAlignment bytes
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
    Place place;   // of a free entry: segment 0
    Id parent = kNone, first_child = kNone, next_sibling = kNone, previous_sibling = kNone;
    Id next_in_bucket = kNone;   // of a free entry: the next free one; `previous_sibling` is the previous one
    std::uint32_t tick = 0;      // last use; never above the parent's
    std::uint32_t entry_class = 0;
    std::uint16_t used : 1 = 0;      // since it was written (or rewritten)
    std::uint16_t expires : 1 = 0;   // the record has an expiry time
    std::uint16_t hits : 14 = 0;     // saturating
  };
  static_assert(sizeof(Entry) == 76, "every stored value pays for it");

  [[nodiscard]] Id find(const Key& key) const;
  [[nodiscard]] Entry& operator[](Id id) { return (*chunks_[id / kChunk])[id % kChunk]; }
  [[nodiscard]] const Entry& operator[](Id id) const { return (*chunks_[id / kChunk])[id % kChunk]; }
  [[nodiscard]] const EntryClass& class_of(Id id) const { return classes_[(*this)[id].entry_class].value; }

  // Inserts a key that is not indexed, below `parent` (or kNone). After reserve() it allocates only
  // for a new class. Strong exception guarantee.
  Id insert(const Key& key, const Place& place, const EntryClass& entry_class, Id parent);
  // Gives an entry without a parent a parent.
  void adopt(Id id, Id parent);
  // Erases an entry and its descendants, or `most` of them, deepest first; `gone` is called before
  // each is erased. Allocates nothing.
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
  // Erases everything and frees the memory.
  void clear() noexcept;
  // RETURNS the number of entries that erase() would erase, counted up to `most`.
  [[nodiscard]] std::size_t count_behind(Id id, std::size_t most) const;
  // Sets the tick of the entry and its ancestors. Cheap if a chain is touched from its last entry.
  void touch(Id id, std::uint32_t tick);

  [[nodiscard]] std::size_t size() const { return size_; }
  // RETURNS the allocated bytes; with `more`: the bytes after reserving that many entries of these
  // classes.
  [[nodiscard]] std::uint64_t memory_bytes() const;
  [[nodiscard]] std::uint64_t memory_bytes_with(std::size_t more, std::span<const EntryClass> classes) const;
  // Reserves memory for that many calls of insert().
  void reserve(std::size_t more);
  // RETURNS the number of insert() calls that need no reserve().
  [[nodiscard]] std::size_t room() const { return chunks_.size() * kChunk - (chunks_.empty() ? 0 : 1) - size_; }
  // Compacts the entries and frees memory beyond what they and `spare` more need, in bounded steps.
  // RETURNS true while there is more to do. Entries are renumbered.
  bool shrink(std::size_t spare);

  // Entries have numbers 1 to end_id() - 1; some of them are free.
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
    std::uint32_t entries = 0;   // 0: free; then `next` is the next free one
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

  // The table grows and shrinks by one bucket at a time (linear hashing), so no call rehashes all
  // of it.
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<std::unique_ptr<BucketChunk>> bucket_chunks_;
  std::size_t buckets_ = 0;
  std::vector<Class> classes_;
  std::unordered_map<EntryClass, std::uint32_t, EntryClassHash> numbers_;   // of classes in use
  std::uint32_t free_class_ = kNoClass;
  Id free_ = kNone;
  std::size_t size_ = 0;
};

}   // namespace tensorcache::disk
