// What callers ask for: values and removals on their way to the writing thread. Each member has the strong guarantee.
#include <algorithm>
#include <new>
#include <utility>

#include "base/core/call_back.h"
#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kMaxQueued = 65'536;
constexpr std::uint64_t kMaxErased = 262'144;   // places of removed records that wait to be overwritten; 12 bytes each
constexpr std::size_t kMaxPurged = 262'144;     // keys of purges that wait, but for one purge that has more

}   // namespace

bool DiskTier::removed_since_locked(const Write& write) const {
  const Value& value = write.value;
  if (cleared_all_ > write.number) return true;
  const auto removal = removals_.find(value.key);
  if (removal != removals_.end() && removal->second > write.number) return true;
  const auto clearing = clearings_.find(value.owner);
  if (clearing != clearings_.end() && clearing->second > write.number) return true;
  return std::any_of(selections_.begin(), selections_.end(), [&](const Clearing& each) {
    return each.number > write.number && each.what.matches(value.owner, value.source, value.created_unix_ms, value.key);
  });
}

// A record that is older than any removal that waits.
bool DiskTier::removal_waits_locked(const RecordHeader& header) const {
  return clear_waits_ > 0 || removals_.contains(header.key) || is_cleared_locked(header);
}

bool DiskTier::is_cleared_locked(const RecordHeader& header) const {
  if (cleared_all_ == UINT64_MAX || clearings_.contains(header.owner)) return true;
  return std::any_of(selections_.begin(), selections_.end(), [&](const Clearing& each) { return each.what.matches(header); });
}

bool DiskTier::accepts(std::uint64_t value_bytes) const {
  const std::lock_guard lock(mutex_);
  return !closing_ && !health_.broken && values_waiting_.size() < kMaxQueued && queued_bytes_ + value_bytes <= options_.queue_bytes;
}

bool DiskTier::put(Value value) {
  std::list<Write> node(1);   // allocates before anything changes
  std::list<Removal> removal(1);
  const std::lock_guard lock(mutex_);
  const std::uint64_t bytes = value.bytes.size();
  const bool fits = record_bytes(bytes) + kSegmentHeaderBytes + summary_bytes(1) <= segment_bytes_;
  if (closing_ || health_.broken || !fits || values_waiting_.size() >= kMaxQueued || queued_bytes_ + bytes > options_.queue_bytes) {
    ++(fits ? counters_.dropped_puts : counters_.too_large_puts);
    return false;
  }
  const auto [queued, is_new] = queued_.try_emplace(value.key);
  auto children = queued_children_.end();
  try {
    if (value.parent) children = queued_children_.try_emplace(*value.parent).first;
    // What waits under this key expired meanwhile, or there would be no other. It must not be taken for this one.
    if (!is_new && queued->second.expires) remove_locked(value.key, index_.find(value.key), removal);
  } catch (...) {
    if (children != queued_children_.end() && children->second == 0) queued_children_.erase(children);
    if (is_new) queued_.erase(queued);
    throw;
  }
  if (children != queued_children_.end()) ++children->second;
  node.front().number = next_number_++;
  ++queued->second.count;
  queued->second.last = node.front().number;
  queued->second.expires = value.expires_unix_ms != 0;
  queued_bytes_ += bytes;
  node.front().value = std::move(value);
  values_waiting_.splice(values_waiting_.end(), node);
  changed_.notify_all();
  return true;
}

void DiskTier::when_written(std::function<void(bool)> done) {
  {
    std::list<Write> node(1);
    const std::lock_guard lock(mutex_);
    if (!closing_) {
      node.front().written = std::move(done);
      node.front().number = next_number_++;
      values_waiting_.splice(values_waiting_.end(), node);
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
  const auto queued = queued_.find(key);
  const std::uint64_t written = queued == queued_.end() ? 0 : queued->second.last;
  if (clear_waits_ > written) return false;
  const auto removal = removals_.find(key);
  if (removal != removals_.end() && removal->second > written) return false;
  return written > 0 || !recovered_ || unlisted_ > 0;
}

bool DiskTier::remove(const Key& key) {
  std::list<Removal> removal(1);
  Dropped dropped;   // freed without the lock
  const std::lock_guard lock(mutex_);
  const Index::Id id = index_.find(key);
  if (!must_log_removal_locked(key, id)) {
    if (id != Index::kNone) erase_locked(id);
    return id != Index::kNone;
  }
  if (waiting_removals_locked() >= kMaxRemovals) {
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
    const std::size_t most = kMaxErased - std::min(erased_waiting_, kMaxErased), count = index_.count_behind(id, most + 1);
    front.complete = count <= most;
    front.erased.reserve(std::min(count, most));
  }
  removals_[key] = next_number_;
  if (id != Index::kNone) erase_locked(id, &front.erased);
  enqueue_locked(removal);
}

void DiskTier::enqueue_locked(std::list<Removal>& removal) noexcept {
  removal.front().number = next_number_++;
  erased_waiting_ += removal.front().erased.size();
  removals_waiting_.splice(removals_waiting_.end(), removal);
  changed_.notify_all();
}

std::uint64_t DiskTier::purge(std::span<const Key> keys) {
  std::list<Removal> removal(1);
  Removal& front = removal.front();
  front.purged.reserve(keys.size());
  front.what.keys.assign(keys.begin(), keys.end());
  std::sort(front.what.keys.begin(), front.what.keys.end());
  Dropped dropped;   // freed without the lock
  const std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (const Key& key : keys) {
    const Index::Id id = index_.find(key);
    if (!must_log_removal_locked(key, id)) continue;
    front.purged.push_back(key);
    if (id != Index::kNone) count += index_.count_behind(id, index_.size());
  }
  if (keys.empty()) return 0;
  const bool purges_wait = removals_.size() > kMaxRemovals;
  if (waiting_removals_locked() >= kMaxRemovals || (purges_wait && removals_.size() + front.purged.size() > kMaxPurged)) {
    ++counters_.collapsed_logs;
    static_cast<void>(clear_all_locked(removal, dropped));
    return count;
  }
  front.erased.reserve(std::min(count, index_.size()));
  front.complete = true;
  std::unordered_map<Key, std::uint64_t> numbers;
  for (const Key& key : front.purged) numbers[key] = next_number_;
  removals_.reserve(removals_.size() + numbers.size());
  std::uint64_t gone = 0;
  for (const Key& key : front.purged) {
    const Index::Id id = index_.find(key);
    if (id == Index::kNone) continue;
    const std::uint64_t with_it = erase_locked(id, &front.erased);
    front.chained = front.chained || with_it > 1;
    gone += with_it;
  }
  for (auto& [key, number] : numbers) {
    if (const auto known = removals_.find(key); known != removals_.end()) known->second = number;
  }
  removals_.merge(numbers);
  enqueue_locked(removal);
  return gone;
}

}   // namespace tensorcache::disk
