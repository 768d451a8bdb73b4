// Makes room in the budget.
#include "store/memory/evictor.h"

#include <array>
#include <span>
#include <thread>

namespace tensorcache::memory {

thread_local int Evictor::MakingRoom::depth = 0;

namespace {

constexpr std::size_t kMaxVictims = 8;   // taken out together

}   // namespace

bool Evictor::make_room(std::uint64_t bytes) {
  while (!state_.budget.try_charge(bytes)) {
    if (!free_some(bytes)) return false;
  }
  return true;
}

// What other threads keep goes late: they are about to need it.
bool Evictor::free_some(std::uint64_t bytes) {
  return state_.memory.release_own(bytes) || evict() || state_.memory.release_others() || state_.order.shed();
}

Entry* Evictor::allocate(const Layout& layout) {
  Entry* const entry = state_.memory.allocate(layout, [this](std::uint64_t bytes) { return free_some(bytes); });
  if (entry != nullptr) blocks_.add(1);
  return entry;
}

void Evictor::make_policy_room() {
  const std::uint64_t bytes = state_.order.take_wanted();
  if (bytes != 0 && make_room(bytes)) state_.order.add_room(bytes);
}

// Takes out a pinned entry that the policy let go of. False: others hold it too.
bool Evictor::take_out(Entry& victim, Garbage& garbage) {
  Shard& shard = state_.index.shard(victim);
  const SpinLock lock(shard.mutex);
  if (!victim.state.park_or_retire()) return false;
  state_.unindex(shard, victim, &ShardCounts::evictions, garbage);
  return true;
}

bool Evictor::evict() {
  const MakingRoom making_room;
  std::array<Entry*, kMaxVictims> room;
  for (;;) {
    const auto [count, others_evict] = state_.order.pop_victims(room);
    if (count == 0) {
      if (!others_evict) return false;
      std::this_thread::yield();   // another thread has the last ones in hand, and may free their parents or put them back
      continue;
    }
    Garbage garbage;
    for (Entry* victim : std::span(room).first(count)) {
      // If the last reference of one that could not go went meanwhile, this puts it back into the
      // order.
      if (!take_out(*victim, garbage) && drop(*victim, kPin)) reclaim(victim);
    }
    const bool evicted = garbage.entries != nullptr;
    sweep(garbage, Spare::kYes);
    state_.order.evicted(count);
    if (evicted) return true;
  }
}

void Evictor::fit_capacity() {
  for (;;) {
    const std::uint64_t used = state_.budget.used(), capacity = state_.budget.capacity();
    if (used <= capacity || !free_some(used - capacity)) return;
  }
}

void Evictor::trim() {
  if (trims_.fetch_add(1) == 0) trim_until_none_asks();
}

void Evictor::trim_until_none_asks() {
  std::uint32_t asked = 0;
  do {
    asked = trims_.load();
    fit_capacity();
  } while (!trims_.compare_exchange_strong(asked, 0));
}

void Evictor::resize(std::uint64_t capacity_bytes) {
  const std::uint64_t used_before = state_.budget.used();
  const bool alone = trims_.fetch_add(1) == 0;
  state_.order.resize(capacity_bytes);
  if (state_.budget.over()) {   // tables before entries; later each table follows its entries
    for (Shard& shard : state_.index.shards()) shrink_table(shard);
  }
  alone ? trim_until_none_asks() : fit_capacity();
  state_.memory.trim_malloc(used_before);
}

}   // namespace tensorcache::memory
