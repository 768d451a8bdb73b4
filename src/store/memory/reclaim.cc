// Frees what nobody refers to any more.
#include <bit>
#include <thread>

#include "store/memory/evictor.h"

namespace tensorcache::memory {

bool Evictor::drop(Entry& entry, std::uint64_t unit) {
  using Dropped = EntryState::Dropped;
  Dropped dropped = entry.state.drop(unit);
  if (dropped != Dropped::kMustRelink) return dropped == Dropped::kLastOfGone;
  // While the reference still holds it: afterwards the entry may be freed at any time, and this
  // tier with it.
  blocks_.add(1);
  do {
    state_.order.unpark(entry);
    dropped = entry.state.drop(unit);
  } while (dropped == Dropped::kMustRelink);
  // Who made the budget smaller may have found nothing that could go but this.
  if (state_.budget.over() && MakingRoom::depth == 0) trim();
  blocks_.add(-1);
  return dropped == Dropped::kLastOfGone;
}

std::int64_t Evictor::free_chain(Entry* entry, Spare spare) {
  std::int64_t blocks = 0;
  for (; entry != nullptr; ++blocks) {
    Entry* parent = entry->above();
    state_.memory.free(entry, spare);
    entry = parent != nullptr && drop(*parent, kChild) ? parent : nullptr;
  }
  return blocks;
}

void Evictor::sweep(const Garbage& garbage, Spare spare) {
  if (garbage.entries == nullptr && garbage.tables == nullptr) return;
  for (Epochs::Slots left = state_.order.flush(Epochs::kAllSlots); left != 0; left = state_.order.flush(left)) {
    std::this_thread::yield();   // a read section takes some ten nanoseconds, unless its thread was sent to sleep in it
  }
  for (Table* table = garbage.tables; table != nullptr;) {
    Table* next = table->next;
    const std::uint64_t bytes = table->charge_bytes;
    Table::free(table);
    state_.budget.give_back(bytes);
    table = next;
  }
  std::int64_t blocks = 0;
  for (Entry* entry = garbage.entries; entry != nullptr;) {
    auto* next = static_cast<Entry*>(entry->next);
    if (drop(*entry, kPin)) blocks += free_chain(entry, spare);
    entry = next;
  }
  for (std::uint32_t left = garbage.sparse_shards; left != 0; left &= left - 1) {
    shrink_table(state_.index.shards()[static_cast<std::size_t>(std::countr_zero(left))]);
  }
  if (blocks != 0) blocks_.add(-blocks);   // at the end: the tier may go with them
}

// Makes a table, which is charged, and puts it in place if it still has the size that is wanted
// then: another thread may have been faster.
template <class Wanted>
void Evictor::replace_table(Shard& shard, std::uint64_t charged_bytes, const Wanted& wanted_bytes) {
  Table* table = Table::make(charged_bytes);
  Garbage garbage;
  bool taken = false;
  if (table != nullptr) {
    const SpinLock lock(shard.mutex);
    taken = wanted_bytes() == charged_bytes;
    if (taken) garbage.tables = shard.set_table(table);
  }
  if (!taken) {
    if (table != nullptr) Table::free(table);
    state_.budget.give_back(charged_bytes);
  }
  sweep(garbage);
}

// Without room or memory the buckets get fuller instead. Also if making room took the need away: it
// will come back.
void Evictor::grow_table(Shard& shard, std::uint64_t bytes) {
  if (!make_room(bytes)) return;
  replace_table(shard, bytes, [&] {
    shard.mutex.assert_held();
    return shard.next_table_bytes();
  });
}

// Without room or memory the table stays as it is until the next entry goes. Nothing is evicted for
// it.
void Evictor::shrink_table(Shard& shard) {
  const Shard::Fit fit = state_.fit();
  std::uint64_t bytes = 0;
  {
    const SpinLock lock(shard.mutex);
    bytes = shard.smaller_table_bytes(fit);
  }
  if (bytes == 0 || !state_.budget.try_charge_or_exceed(bytes)) return;
  replace_table(shard, bytes, [&] {
    shard.mutex.assert_held();
    return shard.smaller_table_bytes(fit);
  });
}

}   // namespace tensorcache::memory
