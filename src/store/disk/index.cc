#include "store/disk/index.h"

#include <algorithm>
#include <bit>

namespace tensorcache::disk {
namespace {

constexpr std::size_t kStep = 1024;                // entries or buckets per call of shrink()
constexpr std::size_t kClassBytes = 2 * 32 + 64;   // including vector growth, and the map's node and bucket

std::size_t chunks_for(std::size_t count, std::size_t chunk) { return (count + chunk - 1) / chunk; }

}   // namespace

std::size_t EntryClassHash::operator()(const EntryClass& entry_class) const {
  std::uint64_t hash = entry_class.owner * 0x9E3779B97F4A7C15ULL;
  hash = (hash ^ (hash >> 32) ^ entry_class.source) * 0xD6E8FEB86659FD93ULL;
  return hash ^ (hash >> 32) ^ static_cast<std::size_t>(entry_class.kind);
}

std::size_t Index::bucket(const Key& key) const {
  const std::size_t hash = std::hash<Key>()(key), mask = std::bit_ceil(buckets_) - 1;
  const std::size_t wide = hash & mask;
  return wide < buckets_ ? wide : wide & (mask >> 1);
}

Index::Id Index::find(const Key& key) const {
  if (buckets_ == 0) return kNone;
  for (Id id = head(bucket(key)); id != kNone; id = (*this)[id].next_in_bucket) {
    if ((*this)[id].key == key) return id;
  }
  return kNone;
}

std::uint64_t Index::memory_bytes() const {
  return chunks_.size() * (sizeof(Chunk) + sizeof(void*)) + bucket_chunks_.size() * (sizeof(BucketChunk) + sizeof(void*)) +
         classes_.size() * kClassBytes;
}

std::uint64_t Index::memory_bytes_with(std::size_t more, std::span<const EntryClass> classes) const {
  const std::size_t entries = more > room() ? size_ + more + 1 : 0;
  const std::size_t chunks = std::max(chunks_.size(), chunks_for(entries, kChunk));
  const std::size_t bucket_chunks = std::max(bucket_chunks_.size(), chunks_for(size_ + more, kChunk));
  std::size_t new_classes = 0;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    new_classes += (i == 0 || classes[i] != classes[i - 1]) && !numbers_.contains(classes[i]) ? 1 : 0;
  }
  return chunks * (sizeof(Chunk) + sizeof(void*)) + bucket_chunks * (sizeof(BucketChunk) + sizeof(void*)) +
         (classes_.size() + new_classes) * kClassBytes;
}

void Index::reserve(std::size_t more) {
  while (bucket_chunks_.size() * kChunk < size_ + more) bucket_chunks_.push_back(std::make_unique<BucketChunk>());
  while (room() < more) {
    const Id first = static_cast<Id>(chunks_.size() * kChunk);
    chunks_.push_back(std::make_unique<Chunk>());
    for (Id i = kChunk; i-- > 0;) {
      if (first + i != kNone) push_free(first + i);   // number 0 means none
    }
  }
}

std::uint32_t Index::take_class(const EntryClass& entry_class) {
  const auto [known, is_new] = numbers_.try_emplace(entry_class, free_class_);
  if (is_new && free_class_ == kNoClass) {
    known->second = static_cast<std::uint32_t>(classes_.size());
    try {
      classes_.emplace_back();
    } catch (...) {
      numbers_.erase(known);
      throw;
    }
  } else if (is_new) {
    free_class_ = classes_[known->second].next;
  }
  Class& taken = classes_[known->second];
  taken.value = entry_class;
  ++taken.entries;
  return known->second;
}

void Index::drop_class(std::uint32_t number) {
  Class& dropped = classes_[number];
  if (--dropped.entries > 0) return;
  numbers_.erase(dropped.value);
  dropped.next = free_class_;
  free_class_ = number;
}

void Index::split_bucket() {
  const std::size_t added = buckets_++;
  head(added) = kNone;
  if (added == 0) return;
  Id* link = &head(added - std::bit_floor(added));
  while (*link != kNone) {
    Entry& entry = (*this)[*link];
    const Id id = *link;
    if (bucket(entry.key) != added) {
      link = &entry.next_in_bucket;
      continue;
    }
    *link = entry.next_in_bucket;
    entry.next_in_bucket = head(added);
    head(added) = id;
  }
}

void Index::merge_bucket() {
  const std::size_t last = --buckets_;
  const Id first = head(last);
  if (first == kNone) return;
  Id* link = &head(last - std::bit_floor(last));
  while (*link != kNone) link = &(*this)[*link].next_in_bucket;
  *link = first;
}

Index::Id Index::insert(const Key& key, const Place& place, const EntryClass& entry_class, Id parent) {
  reserve(1);
  const std::uint32_t number = take_class(entry_class);
  if (size_ >= buckets_) split_bucket();
  const Id id = free_;
  Entry& entry = (*this)[id];
  take_free(id);
  entry.key = key;
  entry.place = place;
  entry.entry_class = number;
  Id& first = head(bucket(key));
  entry.next_in_bucket = first;
  first = id;
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

Index::Id* Index::link_to(Id id) {
  Id* link = &head(bucket((*this)[id].key));
  while (*link != id) link = &(*this)[*link].next_in_bucket;
  return link;
}

void Index::unlink(Id id) {
  Entry& entry = (*this)[id];
  if (entry.previous_sibling != kNone) {
    (*this)[entry.previous_sibling].next_sibling = entry.next_sibling;
  } else if (entry.parent != kNone) {
    (*this)[entry.parent].first_child = entry.next_sibling;
  }
  if (entry.next_sibling != kNone) (*this)[entry.next_sibling].previous_sibling = entry.previous_sibling;
  *link_to(id) = entry.next_in_bucket;
  drop_class(entry.entry_class);
  entry = Entry{};
  push_free(id);
  --size_;
}

void Index::push_free(Id id) {
  Entry& entry = (*this)[id];
  entry.next_in_bucket = free_;
  if (free_ != kNone) (*this)[free_].previous_sibling = id;
  free_ = id;
}

void Index::take_free(Id id) {
  Entry& entry = (*this)[id];
  if (entry.next_in_bucket != kNone) (*this)[entry.next_in_bucket].previous_sibling = entry.previous_sibling;
  (entry.previous_sibling == kNone ? free_ : (*this)[entry.previous_sibling].next_in_bucket) = entry.next_in_bucket;
  entry = Entry{};
}

void Index::clear() noexcept {
  // Swaps, because an assignment may keep the memory.
  std::vector<std::unique_ptr<Chunk>>().swap(chunks_);
  std::vector<std::unique_ptr<BucketChunk>>().swap(bucket_chunks_);
  std::vector<Class>().swap(classes_);
  decltype(numbers_)().swap(numbers_);
  free_class_ = kNoClass;
  buckets_ = 0;
  free_ = kNone;
  size_ = 0;
}

std::size_t Index::count_behind(Id id, std::size_t most) const {
  std::size_t count = 1;
  for (Id at = id; count < most;) {
    if (const Id child = (*this)[at].first_child) {
      at = child;
    } else {
      while (at != id && (*this)[at].next_sibling == kNone) at = (*this)[at].parent;
      if (at == id) break;
      at = (*this)[at].next_sibling;
    }
    ++count;
  }
  return count;
}

void Index::touch(Id id, std::uint32_t tick) {
  for (; id != kNone && (*this)[id].tick < tick; id = (*this)[id].parent) (*this)[id].tick = tick;
}

// Moves an entry to a free place and updates all references to it.
void Index::move(Id from, Id to) {
  Entry& source = (*this)[from];
  *link_to(from) = to;
  if (source.previous_sibling != kNone) {
    (*this)[source.previous_sibling].next_sibling = to;
  } else if (source.parent != kNone) {
    (*this)[source.parent].first_child = to;
  }
  if (source.next_sibling != kNone) (*this)[source.next_sibling].previous_sibling = to;
  for (Id child = source.first_child; child != kNone; child = (*this)[child].next_sibling) (*this)[child].parent = to;
  (*this)[to] = source;
  source = Entry{};
}

// Empties the last chunk, entry by entry, into free places of other chunks.
bool Index::shrink(std::size_t spare) {
  if (size_ == 0 && spare == 0) {
    clear();
    return false;
  }
  for (std::size_t i = 0; i < kStep && buckets_ > std::max<std::size_t>(size_, 1); ++i) merge_bucket();
  while (bucket_chunks_.size() > chunks_for(std::max(buckets_, size_ + spare), kChunk)) bucket_chunks_.pop_back();
  const bool too_many_chunks = chunks_.size() > chunks_for(size_ + spare + 1, kChunk);
  if (too_many_chunks) {
    const Id first = static_cast<Id>((chunks_.size() - 1) * kChunk);
    const Id begin = std::max<Id>(first, 1);
    for (Id id = begin; id < first + kChunk; ++id) {   // the chunk's own free places must not receive entries
      if (!is_entry(id)) take_free(id);
    }
    for (Id id = begin; id < first + kChunk; ++id) {
      if (!is_entry(id)) continue;
      const Id to = free_;
      take_free(to);
      move(id, to);
    }
    chunks_.pop_back();
  }
  return chunks_.size() > chunks_for(size_ + spare + 1, kChunk) || buckets_ > std::max<std::size_t>(size_, 1);
}

}   // namespace tensorcache::disk
