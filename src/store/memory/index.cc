#include "store/memory/index.h"

#include <cstdlib>
#include <new>
#include <utility>

namespace tensorcache::memory {

namespace {

constexpr std::size_t kWentOnShift = 56;
constexpr std::uint64_t kWentOn = std::uint64_t{1} << kWentOnShift, kMaxWentOn = 255;   // there it stays

std::uint64_t went_on(std::uint64_t tags) { return tags >> kWentOnShift; }

}   // namespace

Table* Table::make(std::uint64_t charge_bytes) {
  void* memory = nullptr;
  if (::posix_memalign(&memory, alignof(Table), charge_bytes - alignof(Table)) != 0) return nullptr;
  auto* table = new (memory) Table;
  const std::size_t buckets = (charge_bytes - alignof(Table) - sizeof(Table)) / sizeof(Bucket);
  for (std::size_t i = 0; i < buckets; ++i) new (table->buckets() + i) Bucket;
  table->mask = buckets - 1;
  table->charge_bytes = charge_bytes;
  return table;
}

void Table::free(Table* table) { std::free(table); }

Shard::~Shard() {
  if (Table* mine = table(); mine != &own_.table) Table::free(mine);
}

// The order of these loads and of the stores in link() and unlink() is sequentially consistent with
// the read sections: either a reader sees that an entry was taken out, or who took it out sees the
// reader.
Entry* Shard::find_further(const Key& key) const {
  const std::uint64_t hash = hash_of(key), tag = Bucket::tag_of(hash);
  const Place place = place_of(where_.load());
  std::size_t at = hash & place.mask;
  for (std::size_t i = 0; i <= place.mask; ++i) {
    const Bucket& bucket = place.buckets[at];
    const std::uint64_t tags = bucket.tags.load();
    for (std::uint64_t match = Bucket::matches(tags, tag); match != 0; match &= match - 1) {
      const auto at_byte = static_cast<std::size_t>(std::countr_zero(match)) / Bucket::kTagBits * Bucket::kTagBits;
      if ((tags >> at_byte & 255) != tag) continue;
      Entry* entry = bucket.entries[at_byte / Bucket::kTagBits].load(std::memory_order_acquire);
      if (entry != nullptr && entry->has_key(key)) return entry;
    }
    if (went_on(tags) == 0) return nullptr;
    at = (at + 1) & place.mask;
  }
  return nullptr;
}

bool Shard::link_in(Table& table, Entry& entry) {
  std::size_t at = entry.hash & table.mask;
  for (std::size_t i = 0; i <= table.mask; ++i, at = (at + 1) & table.mask) {
    Bucket& bucket = table.buckets()[at];
    for (std::size_t place = 0; place < Bucket::kEntries; ++place) {
      if (bucket.entries[place].load(std::memory_order_relaxed) != nullptr) continue;
      bucket.entries[place].store(&entry, std::memory_order_release);
      bucket.tags.store(bucket.tags.load(std::memory_order_relaxed) | Bucket::tag_of(entry.hash) << place * Bucket::kTagBits);
      // Only now, when there surely is a place: those before it were passed.
      for (std::size_t passed = entry.hash & table.mask; passed != at; passed = (passed + 1) & table.mask) {
        std::atomic<std::uint64_t>& tags = table.buckets()[passed].tags;
        const std::uint64_t before = tags.load(std::memory_order_relaxed);
        if (went_on(before) < kMaxWentOn) tags.store(before + kWentOn);
      }
      return true;
    }
  }
  return false;
}

bool Shard::link(Entry& entry) {
  if (!link_in(*table(), entry)) return false;
  ++entries_;
  return true;
}

void Shard::unlink(Entry& entry) {
  Table& present = *table();
  for (std::size_t at = entry.hash & present.mask;; at = (at + 1) & present.mask) {
    Bucket& bucket = present.buckets()[at];
    const std::uint64_t tags = bucket.tags.load(std::memory_order_relaxed);
    for (std::size_t place = 0; place < Bucket::kEntries; ++place) {
      if (bucket.entries[place].load(std::memory_order_relaxed) != &entry) continue;
      bucket.tags.store(tags & ~(std::uint64_t{255} << place * Bucket::kTagBits));
      bucket.entries[place].store(nullptr, std::memory_order_release);
      --entries_;
      return;
    }
    if (went_on(tags) < kMaxWentOn) bucket.tags.store(tags - kWentOn);
  }
}

void Shard::count_put(const Entry& entry) {
  KindStats& kind = counts.kinds[static_cast<std::size_t>(entry.kind)];
  kind.entries += 1;
  kind.value_bytes += entry.value_bytes();
  kind.charged_bytes += entry.charge_bytes;
  counts.puts += 1;
}

void Shard::count_removal(const Entry& entry, Counter counter) {
  KindStats& kind = counts.kinds[static_cast<std::size_t>(entry.kind)];
  kind.entries -= 1;
  kind.value_bytes -= entry.value_bytes();
  kind.charged_bytes -= entry.charge_bytes;
  counts.*counter += 1;
}

std::uint64_t Shard::wanted_table_bytes() const { return entries_ < buckets() * kEntriesPerBucket ? 0 : next_table_bytes(); }

std::uint64_t Shard::smaller_table_bytes(Fit fit) const {
  constexpr std::size_t kMinBuckets = 2;
  if (!may_be_too_large(fit)) return 0;
  const std::size_t have = buckets();
  const std::size_t places = fit == Fit::kLoose ? entries_ * 2 : entries_;
  std::size_t wanted = have;
  while (wanted > kMinBuckets && places <= wanted / 2 * kEntriesPerBucket) wanted /= 2;
  return wanted == have ? 0 : charge_of_table(wanted);
}

Table* Shard::set_table(Table* other) {
  for_each([&](Entry& entry) { static_cast<void>(link_in(*other, entry)); });
  Table* const before = table();
  publish(*other);
  return before == &own_.table ? nullptr : before;
}

Table* Shard::drop_table() {
  Table* const before = table();
  if (before == &own_.table) return nullptr;
  own_.bucket.tags.store(0);   // of when it was in use
  for (auto& entry : own_.bucket.entries) entry.store(nullptr);
  publish(own_.table);
  return before;
}

}   // namespace tensorcache::memory
