#include "store/memory/memory_state.h"

#include <utility>

namespace tensorcache::memory {

void MemoryState::unindex(Shard& shard, Entry& entry, Shard::Counter counter, Garbage& garbage) {
  shard.unlink(entry);
  shard.count_removal(entry, counter);
  if (entry.has(kLinked | kParked)) order.erase(entry);
  entry.next = garbage.entries;
  garbage.entries = &entry;
  if (shard.is_empty()) {
    if (Table* table = shard.drop_table()) table->next = std::exchange(garbage.tables, table);
  } else if (shard.may_be_too_large(fit())) {
    garbage.sparse_shards |= std::uint32_t{1} << (&shard - index.shards().data());
  }
}

}   // namespace tensorcache::memory
