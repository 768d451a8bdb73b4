// Where a key's entry is: a hash table in shards. Found without a lock; each shard's mutex is for
// those who change it.
//
// A bucket is one cache line: seven entries, a byte of each one's hash, and a count of those that
// found it full and went on to the next. Nothing in a table moves, so a reader meets every entry
// that was there before it came. A reader must be in a read section (Epochs), and what it finds may
// be gone already, which the entry's state tells; what is taken out lives until those sections are
// over.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "store/memory/budget.h"
#include "store/memory/entry.h"
#include "store/memory/spin_mutex.h"

namespace tensorcache::memory {

struct alignas(64) Bucket {
  static constexpr std::size_t kEntries = 7, kTagBits = 8;
  std::atomic<std::uint64_t> tags{0};   // a byte for each entry, 0 where there is none; the last byte counts who went on
  std::array<std::atomic<Entry*>, kEntries> entries{};

  [[nodiscard]] static std::uint64_t tag_of(std::uint64_t hash) {
    const std::uint64_t tag = hash >> 56;
    return tag == 0 ? 1 : tag;
  }
  // A bit for each of the seven bytes of `tags` that is `tag`; those above the lowest may be set
  // wrongly.
  [[nodiscard]] static std::uint64_t matches(std::uint64_t tags, std::uint64_t tag) {
    constexpr std::uint64_t kOnes = 0x0101010101010101u, kHighs = 0x0080808080808080u;
    const std::uint64_t difference = tags ^ (kOnes * tag);
    return (difference - kOnes) & ~difference & kHighs;
  }
};
static_assert(sizeof(Bucket) == 64);

// In one block of memory with its buckets behind it.
struct alignas(64) Table {
  std::size_t mask = 0;             // buckets less one
  std::uint64_t charge_bytes = 0;   // 0: the shard's own
  Table* next = nullptr;            // in a list of those that are to be freed
  [[nodiscard]] Bucket* buckets() { return reinterpret_cast<Bucket*>(this + 1); }
  // Null if there is no memory.
  [[nodiscard]] static Table* make(std::uint64_t charge_bytes);
  static void free(Table* table);
};

// Counted under a shard's mutex.
struct ShardCounts {
  std::uint64_t puts = 0, evictions = 0, expirations = 0, removals = 0;
  KindStats kinds[kKindCount];
};

class alignas(64) Shard {
 public:
  Shard() { publish(own_.table); }
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // For anybody, in a read section. Mostly it is the first that could be it.
  [[nodiscard]] Entry* find(const Key& key) const {
    const std::uint64_t hash = hash_of(key);
    const Place place = place_of(where_.load());
    const Bucket& bucket = place.buckets[hash & place.mask];
    if (const std::uint64_t match = Bucket::matches(bucket.tags.load(), Bucket::tag_of(hash)); match != 0) {
      Entry* entry = bucket.entries[static_cast<std::size_t>(std::countr_zero(match)) / Bucket::kTagBits].load(std::memory_order_acquire);
      if (entry != nullptr && entry->has_key(key)) return entry;
    }
    return find_further(key);
  }

  mutable SpinMutex mutex;
  ShardCounts counts TC_GUARDED_BY(mutex);
  // An entry that was linked.
  void count_put(const Entry& entry) TC_REQUIRES(mutex);
  // An entry that was unlinked, and in `counter` why.
  using Counter = std::uint64_t ShardCounts::*;
  void count_removal(const Entry& entry, Counter counter) TC_REQUIRES(mutex);
  // False: there is no place, not even a longer way away.
  [[nodiscard]] bool link(Entry& entry) TC_REQUIRES(mutex);
  void unlink(Entry& entry) TC_REQUIRES(mutex);
  // The charge of a table fit for one more entry; 0 while this one is.
  [[nodiscard]] std::uint64_t wanted_table_bytes() const TC_REQUIRES(mutex);
  // Takes a table of another size, and returns the one before it, which readers may still be in;
  // null if it was the shard's own.
  [[nodiscard]] Table* set_table(Table* other) TC_REQUIRES(mutex);
  [[nodiscard]] std::uint64_t table_bytes() const TC_REQUIRES(mutex) {
    return table()->charge_bytes;
  }   // 0: its own, which is part of an empty cache
  // The charge of one twice as large as this one.
  [[nodiscard]] std::uint64_t next_table_bytes() const TC_REQUIRES(mutex) { return charge_of_table(2 * buckets()); }
  // The charge of a smaller table that its entries should have; 0: this one is right. kLoose: when
  // it is less than an eighth full, one with room for as many again. kTight: when they fit half of
  // it, the smallest, as if they had just been stored.
  enum class Fit : bool { kLoose, kTight };
  [[nodiscard]] std::uint64_t smaller_table_bytes(Fit fit) const TC_REQUIRES(mutex);
  // False: smaller_table_bytes() is 0. Asked whenever an entry goes.
  [[nodiscard]] bool may_be_too_large(Fit fit) const TC_REQUIRES(mutex) {
    return fit == Fit::kTight || entries_ * kSparse < buckets() * kEntriesPerBucket;
  }
  [[nodiscard]] bool is_empty() const TC_REQUIRES(mutex) { return entries_ == 0; }
  // Back to its own small table, of one that is empty. Returns as set_table.
  [[nodiscard]] Table* drop_table() TC_REQUIRES(mutex);

  // A visit that needs the mutex says so by assert_held(): the analysis cannot see the connection.
  template <class Visit>
  void for_each(const Visit& visit) const TC_REQUIRES(mutex) {   // `visit` may unlink the entry it gets
    static_cast<void>(for_some(0, SIZE_MAX, visit));
  }
  // Of so many buckets from `begin` on. False: these were the last. As long as table_number() stays
  // the same an entry stays in its bucket.
  template <class Visit>
  bool for_some(std::size_t begin, std::size_t count, const Visit& visit) const TC_REQUIRES(mutex) {
    const Place place = place_of(where_.load(std::memory_order_relaxed));
    const std::size_t all = place.mask + 1, end = begin + std::min(count, all - std::min(begin, all));
    for (std::size_t i = begin; i < end; ++i) {
      for (const auto& slot : place.buckets[i].entries) {
        if (Entry* entry = slot.load(std::memory_order_relaxed)) visit(*entry);
      }
    }
    return end < all;
  }
  [[nodiscard]] std::uint64_t table_number() const TC_REQUIRES(mutex) { return table_number_; }

 private:
  static constexpr std::size_t kSparse = 8;
  static constexpr std::size_t kEntriesPerBucket = 5;   // on average, at most, if there is memory for more buckets
  [[nodiscard]] static std::uint64_t charge_of_table(std::size_t buckets) { return alignof(Table) + sizeof(Table) + buckets * sizeof(Bucket); }
  [[nodiscard]] std::size_t buckets() const { return place_of(where_.load(std::memory_order_relaxed)).mask + 1; }
  [[nodiscard]] Entry* find_further(const Key& key) const;
  [[nodiscard]] static bool link_in(Table& table, Entry& entry);
  [[nodiscard]] static std::uint64_t hash_of(const Key& key) {
    std::uint64_t hash = 0;
    std::memcpy(&hash, key.bytes.data(), sizeof hash);
    return hash;
  }

  // The buckets' address, and in the bits that are 0 in it the logarithm of their number: one load
  // tells both.
  struct Place {
    const Bucket* buckets;
    std::size_t mask;
  };
  [[nodiscard]] static Place place_of(std::uintptr_t where) {
    return {reinterpret_cast<const Bucket*>(where & ~std::uintptr_t{alignof(Bucket) - 1}), (std::size_t{1} << (where & (alignof(Bucket) - 1))) - 1};
  }
  void publish(Table& table) TC_REQUIRES(mutex) {
    ++table_number_;
    where_.store(reinterpret_cast<std::uintptr_t>(table.buckets()) | static_cast<std::uintptr_t>(std::countr_one(table.mask)));
  }
  [[nodiscard]] Table* table() const {
    return reinterpret_cast<Table*>(where_.load(std::memory_order_relaxed) & ~std::uintptr_t{alignof(Bucket) - 1}) - 1;
  }

  alignas(64) std::atomic<std::uintptr_t> where_;   // readers' own line
  alignas(64) std::size_t entries_ TC_GUARDED_BY(mutex) = 0;
  std::uint64_t table_number_ TC_GUARDED_BY(mutex) = 0;   // of those it has had
  // So that a cache without room for a table still works.
  struct {
    Table table;
    Bucket bucket;
  } own_;
};

class Index {
 public:
  static constexpr std::size_t kShards = 16;

  // By other bits than the bucket within.
  [[nodiscard]] Shard& shard(const Key& key) { return shards_[key.bytes[31] % kShards]; }
  [[nodiscard]] const Shard& shard(const Key& key) const { return shards_[key.bytes[31] % kShards]; }
  [[nodiscard]] Shard& shard(const Entry& entry) { return shards_[entry.rest_of_key.back() % kShards]; }
  [[nodiscard]] Entry* find(const Key& key) const { return shard(key).find(key); }
  [[nodiscard]] std::array<Shard, kShards>& shards() { return shards_; }
  [[nodiscard]] const std::array<Shard, kShards>& shards() const { return shards_; }

 private:
  std::array<Shard, kShards> shards_;
};

}   // namespace tensorcache::memory
