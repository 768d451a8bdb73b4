// Queues values and removals for the writing thread. Each member has the strong exception
// guarantee.
#include <algorithm>
#include <utility>

#include "base/core/call_back.h"
#include "store/disk/disk_tier.h"

namespace tensorcache::disk {

tier::Room DiskTier::room(std::uint64_t value_bytes, tier::Urgency urgency) const {
  const MutexLock lock(state_.mutex);
  return state_.room_locked(value_bytes, urgency);
}

tier::Room DiskState::room_locked(std::uint64_t value_bytes, tier::Urgency urgency) const {
  if (closing || !fits_segment(value_bytes) || value_bytes > queue.max_bytes()) return tier::Room::kNever;
  if (health.broken()) return tier::Room::kBroken;
  return queue.accepts(value_bytes, urgency) ? tier::Room::kFree : tier::Room::kFull;
}

void DiskTier::when_room(std::function<void()> call) {
  const MutexLock lock(state_.mutex);
  state_.on_room = std::move(call);
}

void DiskTier::want_room() noexcept {
  const MutexLock lock(state_.mutex);
  if (state_.wants_room) return;
  state_.wants_room = true;
  state_.changed.notify_all();
}

bool DiskTier::put(Value value) {
  std::list<Write> node(1);   // allocates before any change
  std::list<Removal> removal(1);
  const MutexLock lock(state_.mutex);
  const std::uint64_t bytes = value.bytes.size();
  const bool fits = state_.fits_segment(bytes);
  if (state_.closing || state_.health.broken() || !fits || !state_.queue.accepts(bytes, value.urgency)) {
    // Its origin offers it again.
    const bool waits = value.origin != nullptr && fits && bytes <= state_.queue.max_bytes() && !state_.closing;
    if (!waits) ++(fits ? state_.counters.dropped_puts : state_.counters.too_large_puts);
    return false;
  }
  node.front().value = std::move(value);
  state_.queue.put(node, [&](bool replaces_expired) {
    state_.mutex.assert_held();
    // The queued value of this key expired, otherwise this one would not be here. The writing
    // thread must not take this one for a duplicate.
    const Key& key = node.front().value.key;
    if (replaces_expired) state_.remove_locked(key, state_.catalog.find(key), removal);
    return state_.ledger.take_number();
  });
  state_.changed.notify_all();
  return true;
}

void DiskTier::when_written(std::function<void(bool)> done) {
  {
    std::list<Write> node(1);
    const MutexLock lock(state_.mutex);
    if (!state_.closing) {
      node.front().written = std::move(done);
      state_.queue.ask(node, state_.ledger.take_number());
      state_.changed.notify_all();
      return;
    }
  }
  call_back(done, false);
}

bool DiskTier::remove(const Key& key) {
  std::list<Removal> removal(1);
  Dropped dropped;   // freed after the mutex is released
  const MutexLock lock(state_.mutex);
  const Index::Id id = state_.catalog.find(key);
  if (!state_.must_log_removal_locked(key, id)) {
    if (id != Index::kNone) state_.catalog.erase(id);
    return id != Index::kNone;
  }
  if (state_.ledger.is_full()) {
    static_cast<void>(clear_all_locked(removal, dropped));
    ++state_.counters.collapsed_logs;
  } else {
    state_.remove_locked(key, id, removal);
  }
  return id != Index::kNone;
}

std::uint64_t DiskTier::purge(std::span<const Key> keys) {
  std::list<Removal> removal(1);
  Removal& front = removal.front();
  front.purged.reserve(keys.size());
  front.what.keys.assign(keys.begin(), keys.end());
  std::sort(front.what.keys.begin(), front.what.keys.end());
  Dropped dropped;   // freed after the mutex is released
  const MutexLock lock(state_.mutex);
  std::size_t count = 0;
  for (const Key& key : keys) {
    const Index::Id id = state_.catalog.find(key);
    if (!state_.must_log_removal_locked(key, id)) continue;
    front.purged.push_back(key);
    if (id != Index::kNone) count += state_.catalog.index().count_behind(id, state_.catalog.index().size());
  }
  if (keys.empty()) return 0;
  if (state_.ledger.is_full() || !state_.ledger.takes_purge(front.purged.size())) {
    ++state_.counters.collapsed_logs;
    static_cast<void>(clear_all_locked(removal, dropped));
    return count;
  }
  front.erased.reserve(std::min(count, state_.catalog.index().size()));
  front.complete = true;
  RemovalLedger::Numbers numbers = state_.ledger.prepare(front.purged);
  std::uint64_t gone = 0;
  for (const Key& key : front.purged) {
    const Index::Id id = state_.catalog.find(key);
    if (id == Index::kNone) continue;
    const std::uint64_t with_it = state_.catalog.erase(id, &front.erased);
    front.chained = front.chained || with_it > 1;
    gone += with_it;
  }
  state_.ledger.name(numbers);
  state_.enqueue_locked(removal);
  return gone;
}

}   // namespace tensorcache::disk
