#include "tier/index.h"

#include <algorithm>
#include <utility>

namespace tensorcache::detail {

namespace {

constexpr std::size_t kFirstTableEntries = 8;

}   // namespace

void Shard::link(Entry& entry) {
  Entry*& head = buckets_[bucket(entry.key)];
  entry.next = head;
  head = &entry;
  ++entries_;
}

void Shard::unlink(Entry& entry) {
  Entry** link = &buckets_[bucket(entry.key)];
  while (*link != &entry) link = &(*link)->next;
  *link = entry.next;
  --entries_;
}

std::uint64_t Shard::wanted_table_bytes() const {
  if (entries_ < bucket_count_) return 0;
  return std::max(kFirstTableEntries, 2 * bucket_count_) * sizeof(Entry*);
}

void Shard::set_table(std::unique_ptr<Entry*[]> table, std::uint64_t bytes, Budget& budget) {
  Entry* all = nullptr;
  for_each([&](Entry& entry) { entry.next = std::exchange(all, &entry); });
  if (table_) budget.give_back(bucket_count_ * sizeof(Entry*));
  table_ = std::move(table);
  buckets_ = table_.get();
  bucket_count_ = bytes / sizeof(Entry*);
  entries_ = 0;
  while (all != nullptr) {
    Entry* entry = std::exchange(all, all->next);
    link(*entry);
  }
}

void Shard::drop_table(Budget& budget) {
  if (!table_) return;
  budget.give_back(bucket_count_ * sizeof(Entry*));
  table_.reset();
  single_ = nullptr;
  buckets_ = &single_;
  bucket_count_ = 1;
}

}   // namespace tensorcache::detail
