// Where a key's entry is: a hash table in shards, each with its own mutex.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>

#include "tier/budget.h"
#include "tier/entry.h"

namespace tensorcache::detail {

// Every member needs `mutex` held.
class alignas(64) Shard {
 public:
  mutable std::mutex mutex;
  std::uint64_t hits = 0, misses = 0;

  [[nodiscard]] Entry* find(const Key& key) const {
    for (Entry* entry = buckets_[bucket(key)]; entry != nullptr; entry = entry->next) {
      if (entry->key == key) return entry;
    }
    return nullptr;
  }
  void link(Entry& entry);
  void unlink(Entry& entry);

  // The bytes that a table fit for one more entry would take; 0 while this one does.
  [[nodiscard]] std::uint64_t wanted_table_bytes() const;
  // Replaces the table by one of `bytes`, charged by the caller. The old one is given back to `budget`.
  void set_table(std::unique_ptr<Entry*[]> table, std::uint64_t bytes, Budget& budget);
  // Back to no table at all. Needs an empty shard.
  void drop_table(Budget& budget);
  [[nodiscard]] bool empty() const { return entries_ == 0; }

  template <class Visit>
  void for_each(const Visit& visit) const {   // `visit` may unlink the entry it gets
    for (std::size_t i = 0; i < bucket_count_; ++i) {
      for (Entry* entry = buckets_[i]; entry != nullptr;) {
        Entry* next = entry->next;
        visit(*entry);
        entry = next;
      }
    }
  }

 private:
  [[nodiscard]] std::size_t bucket(const Key& key) const { return std::hash<Key>()(key) & (bucket_count_ - 1); }

  // One bucket inside, so that a table is a matter of speed alone and a cache without room for it still works.
  Entry* single_ = nullptr;
  Entry** buckets_ = &single_;
  std::size_t bucket_count_ = 1;   // a power of two
  std::size_t entries_ = 0;
  std::unique_ptr<Entry*[]> table_;
};

class Index {
 public:
  static constexpr std::size_t kShards = 16;

  // By other bits than the bucket within.
  [[nodiscard]] Shard& shard(const Key& key) { return shards_[key.bytes[31] % kShards]; }
  [[nodiscard]] const Shard& shard(const Key& key) const { return shards_[key.bytes[31] % kShards]; }
  [[nodiscard]] std::array<Shard, kShards>& shards() { return shards_; }
  [[nodiscard]] const std::array<Shard, kShards>& shards() const { return shards_; }

  // Holds every shard, in order: nothing can be found, stored or forgotten meanwhile.
  class AllLocked {
   public:
    explicit AllLocked(Index& index) {
      for (std::size_t i = 0; i < kShards; ++i) locks_[i] = std::unique_lock(index.shards_[i].mutex);
    }

   private:
    std::array<std::unique_lock<std::mutex>, kShards> locks_;
  };

 private:
  std::array<Shard, kShards> shards_;
};

}   // namespace tensorcache::detail
