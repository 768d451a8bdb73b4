// What callers ask for: values and removals on their way to the writing thread. Each member has the strong guarantee.
#include <algorithm>
#include <new>
#include <utility>

#include "base/core/call_back.h"
#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
bool DiskTier::accepts(std::uint64_t value_bytes) const {
  const MutexLock lock(mutex_);
  return !closing_ && !health_.broken() && queue_.accepts(value_bytes);
}

bool DiskTier::put(Value value) {
  std::list<Write> node(1);   // allocates before anything changes
  std::list<Removal> removal(1);
  const MutexLock lock(mutex_);
  const std::uint64_t bytes = value.bytes.size();
  const bool fits = record_bytes(bytes) + kSegmentHeaderBytes + summary_bytes(1) <= segment_bytes_;
  if (closing_ || health_.broken() || !fits || !queue_.accepts(bytes)) {
    ++(fits ? counters_.dropped_puts : counters_.too_large_puts);
    return false;
  }
  node.front().value = std::move(value);
  queue_.put(node, [&](bool replaces_expired) {
    mutex_.assert_held();
    // What waits under this key expired meanwhile, or there would be no other. It must not be taken for this one.
    const Key& key = node.front().value.key;
    if (replaces_expired) remove_locked(key, catalog_.find(key), removal);
    return ledger_.take_number();
  });
  changed_.notify_all();
  return true;
}

void DiskTier::when_written(std::function<void(bool)> done) {
  {
    std::list<Write> node(1);
    const MutexLock lock(mutex_);
    if (!closing_) {
      node.front().written = std::move(done);
      queue_.ask(node, ledger_.take_number());
      changed_.notify_all();
      return;
    }
  }
  call_back(done, false);
}

// No record of a key is in the log if it is neither indexed nor being written, and every record without an entry is accounted for.
bool DiskTier::must_log_removal_locked(const Key& key, Index::Id id) const {
  if (closed_) return false;
  if (id != Index::kNone) return true;
  const std::uint64_t written = queue_.last_number(key);
  if (ledger_.names_since(key, written)) return false;
  return written > 0 || !recovered_ || catalog_.segments().unlisted() > 0;
}

bool DiskTier::remove(const Key& key) {
  std::list<Removal> removal(1);
  Dropped dropped;   // freed without the lock
  const MutexLock lock(mutex_);
  const Index::Id id = catalog_.find(key);
  if (!must_log_removal_locked(key, id)) {
    if (id != Index::kNone) catalog_.erase(id);
    return id != Index::kNone;
  }
  if (ledger_.is_full()) {
    static_cast<void>(clear_all_locked(removal, dropped));
    ++counters_.collapsed_logs;
  } else {
    remove_locked(key, id, removal);
  }
  return id != Index::kNone;
}

void DiskTier::remove_locked(const Key& key, Index::Id id, std::list<Removal>& removal) {
  Removal& front = removal.front();
  front.key = key;
  front.complete = true;
  if (id != Index::kNone) {
    const std::size_t most = ledger_.places_left(), count = catalog_.index().count_behind(id, most + 1);
    front.complete = count <= most;
    front.erased.reserve(std::min(count, most));
  }
  ledger_.name(key);
  if (id != Index::kNone) catalog_.erase(id, &front.erased);
  enqueue_locked(removal);
}

void DiskTier::enqueue_locked(std::list<Removal>& removal) noexcept {
  ledger_.enqueue(removal);
  changed_.notify_all();
}

std::uint64_t DiskTier::purge(std::span<const Key> keys) {
  std::list<Removal> removal(1);
  Removal& front = removal.front();
  front.purged.reserve(keys.size());
  front.what.keys.assign(keys.begin(), keys.end());
  std::sort(front.what.keys.begin(), front.what.keys.end());
  Dropped dropped;   // freed without the lock
  const MutexLock lock(mutex_);
  std::size_t count = 0;
  for (const Key& key : keys) {
    const Index::Id id = catalog_.find(key);
    if (!must_log_removal_locked(key, id)) continue;
    front.purged.push_back(key);
    if (id != Index::kNone) count += catalog_.index().count_behind(id, catalog_.index().size());
  }
  if (keys.empty()) return 0;
  if (ledger_.is_full() || !ledger_.takes_purge(front.purged.size())) {
    ++counters_.collapsed_logs;
    static_cast<void>(clear_all_locked(removal, dropped));
    return count;
  }
  front.erased.reserve(std::min(count, catalog_.index().size()));
  front.complete = true;
  RemovalLedger::Numbers numbers = ledger_.prepare(front.purged);
  std::uint64_t gone = 0;
  for (const Key& key : front.purged) {
    const Index::Id id = catalog_.find(key);
    if (id == Index::kNone) continue;
    const std::uint64_t with_it = catalog_.erase(id, &front.erased);
    front.chained = front.chained || with_it > 1;
    gone += with_it;
  }
  ledger_.name(numbers);
  enqueue_locked(removal);
  return gone;
}

}   // namespace tensorcache::disk
