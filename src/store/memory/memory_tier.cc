#include "store/memory/memory_tier.h"

#include <utility>

namespace tensorcache::memory {

MemoryTier::MemoryTier(std::uint64_t capacity_bytes, std::unique_ptr<policy::Policy> policy, Clock clock, Admission admission)
    : admission_(admission), state_(capacity_bytes, std::move(policy), std::move(clock)) {}

std::shared_ptr<MemoryTier> MemoryTier::make(std::uint64_t capacity_bytes, std::unique_ptr<policy::Policy> policy, Clock clock, Admission admission) {
  return {new MemoryTier(capacity_bytes, std::move(policy), std::move(clock), admission), [](MemoryTier* tier) {
            tier->clear(std::nullopt);
            tier->evictor_.count_blocks(-1);
          }};
}

void BlockCount::add(std::int64_t blocks) {
  if (blocks_.fetch_add(blocks) + blocks == 0) delete &tier_;
}

Handle MemoryTier::pin(Entry& entry) {
  entry.state.pin();
  return {this, &entry};
}

Handle MemoryTier::share(const Handle& handle) { return pin(*handle.entry_); }

// A smaller budget waits for what is pinned. This tier lives on with the entry at least.
void MemoryTier::unpin(Entry* entry) {
  if (!state_.budget.over()) {
    if (entry->state.drop_pin()) return;
    if (evictor_.drop(*entry, kPin)) evictor_.reclaim(entry);
    return;
  }
  evictor_.count_blocks(1);
  if (evictor_.drop(*entry, kPin)) evictor_.reclaim(entry);
  evictor_.trim();
  evictor_.count_blocks(-1);
}

void MemoryTier::discard(Entry* draft) {
  evictor_.count_blocks(1);
  evictor_.reclaim(draft);
  if (state_.budget.over()) evictor_.trim();
  evictor_.count_blocks(-1);
}

}   // namespace tensorcache::memory
