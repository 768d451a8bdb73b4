#include "disk/index.h"

#include <limits>

namespace tensorcache::disk {

Index::Index() : buckets_(64, kNone) {}

Index::Id Index::find(const Key& key) const {
  for (Id id = buckets_[bucket(key)]; id != kNone; id = (*this)[id].next_in_bucket) {
    if ((*this)[id].key == key) return id;
  }
  return kNone;
}

std::uint64_t Index::memory_bytes_after_insert() const {
  std::uint64_t bytes = memory_bytes();
  if (free_ == kNone) bytes += sizeof(Chunk);
  if (size_ >= buckets_.size()) bytes += buckets_.size() * sizeof(Id);
  return bytes;
}

void Index::grow() {
  std::vector<Id> old(buckets_.size() * 2, kNone);
  old.swap(buckets_);
  for (const Id head : old) {
    for (Id id = head; id != kNone;) {
      Entry& entry = (*this)[id];
      const Id next = entry.next_in_bucket;
      Id& bucket_head = buckets_[bucket(entry.key)];
      entry.next_in_bucket = bucket_head;
      bucket_head = id;
      id = next;
    }
  }
}

Index::Id Index::insert(const Key& key, const Place& place, const EntryClass& entry_class, Id parent) {
  // Few, and the same one again and again: the newest first.
  std::size_t number = classes_.size();
  while (number > 0 && classes_[number - 1] != entry_class) --number;
  if (number == 0) {
    if (classes_.size() > std::numeric_limits<std::uint16_t>::max()) return kNone;
    classes_.push_back(entry_class);
    number = classes_.size();
  }
  if (free_ == kNone) {
    const Id first = static_cast<Id>(chunks_.size()) * kChunk;
    chunks_.push_back(std::make_unique<Chunk>());
    for (Id i = kChunk; i-- > 0;) {
      if (first + i == kNone) continue;   // number 0 stands for none
      (*this)[first + i].next_in_bucket = free_;
      free_ = first + i;
    }
  }
  if (size_ >= buckets_.size()) grow();
  const Id id = free_;
  Entry& entry = (*this)[id];
  free_ = entry.next_in_bucket;
  entry = Entry{};
  entry.key = key;
  entry.place = place;
  entry.entry_class = static_cast<std::uint16_t>(number - 1);
  Id& head = buckets_[bucket(key)];
  entry.next_in_bucket = head;
  head = id;
  ++size_;
  if (parent != kNone) adopt(id, parent);
  return id;
}

void Index::adopt(Id id, Id parent) {
  Entry& entry = (*this)[id];
  entry.parent = parent;
  entry.next_sibling = (*this)[parent].first_child;
  if (entry.next_sibling != kNone) (*this)[entry.next_sibling].previous_sibling = id;
  (*this)[parent].first_child = id;
  touch(parent, entry.tick);
}

void Index::unlink(Id id) {
  Entry& entry = (*this)[id];
  if (entry.previous_sibling != kNone) {
    (*this)[entry.previous_sibling].next_sibling = entry.next_sibling;
  } else if (entry.parent != kNone) {
    (*this)[entry.parent].first_child = entry.next_sibling;
  }
  if (entry.next_sibling != kNone) (*this)[entry.next_sibling].previous_sibling = entry.previous_sibling;
  Id* at = &buckets_[bucket(entry.key)];
  while (*at != id) at = &(*this)[*at].next_in_bucket;
  *at = entry.next_in_bucket;
  entry.next_in_bucket = free_;
  free_ = id;
  --size_;
}

void Index::touch(Id id, std::uint32_t tick) {
  for (; id != kNone && (*this)[id].tick < tick; id = (*this)[id].parent) (*this)[id].tick = tick;
}

}   // namespace tensorcache::disk
