// What callers ask for: values and removals on their way to the writing thread. Each member has the strong guarantee.
#include <algorithm>
#include <utility>

#include "disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kMostQueued = 65'536;
constexpr std::uint64_t kMostErased = 262'144;   // places of removed records that wait to be overwritten; 12 bytes each

}   // namespace

bool DiskTier::removed_since_locked(const Key& key, std::uint64_t owner, std::uint64_t number) const {
  if (cleared_all_ > number) return true;
  const auto removal = removals_.find(key);
  if (removal != removals_.end() && removal->second > number) return true;
  const auto clearing = clearings_.find(owner);
  return clearing != clearings_.end() && clearing->second > number;
}

bool DiskTier::accepts(std::uint64_t value_bytes) const {
  const std::lock_guard lock(mutex_);
  return !closing_ && !health_.broken && values_waiting_.size() < kMostQueued && queued_bytes_ + value_bytes <= options_.queue_bytes;
}

bool DiskTier::put(Value value) {
  std::list<Write> node(1);   // allocates before anything changes
  std::list<Removal> removal(1);
  const std::lock_guard lock(mutex_);
  const std::uint64_t bytes = value.bytes.size();
  const bool fits = record_bytes(bytes) + kSegmentHeaderBytes + summary_bytes(1) <= segment_bytes_;
  if (closing_ || health_.broken || !fits || values_waiting_.size() >= kMostQueued || queued_bytes_ + bytes > options_.queue_bytes) {
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
  done(false);
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
  Index gone;   // freed without the lock
  const std::lock_guard lock(mutex_);
  const Index::Id id = index_.find(key);
  if (!must_log_removal_locked(key, id)) {
    if (id != Index::kNone) erase_locked(id);
    return id != Index::kNone;
  }
  if (waiting_removals_locked() >= kMostRemovals) {
    static_cast<void>(clear_all_locked(removal, gone));
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
    const std::size_t most = kMostErased - std::min(erased_waiting_, kMostErased), count = index_.count_behind(id, most + 1);
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

std::uint64_t DiskTier::clear(std::optional<std::uint64_t> owner) {
  std::list<Removal> removal(1);
  Index gone;   // freed without the lock
  const std::lock_guard lock(mutex_);
  if (!owner) return clear_all_locked(removal, gone);
  if (waiting_removals_locked() < kMostRemovals) return clear_owner_locked(*owner, removal);
  ++counters_.collapsed_logs;
  return clear_all_locked(removal, gone);
}

std::uint64_t DiskTier::clear_owner_locked(std::uint64_t owner, std::list<Removal>& removal) {
  const std::size_t most = kMostErased - std::min(erased_waiting_, kMostErased);
  std::size_t count = 0;
  index_.for_each([&](Index::Id id) {
    if (count <= most && index_.class_of(id).owner == owner) count += index_.count_behind(id, most + 1);
  });
  Removal& front = removal.front();
  front.type = RecordType::kClearOwner;
  front.owner = owner;
  front.complete = count <= most;
  front.erased.reserve(std::min(count, most));
  clearings_[owner] = next_number_;
  std::uint64_t gone = 0;
  for (Index::Id id = 1; id < index_.end_id(); ++id) {
    if (index_.is_entry(id) && index_.class_of(id).owner == owner) gone += erase_locked(id, &front.erased);
  }
  enqueue_locked(removal);
  return gone;
}

// The files go as a whole, so nothing else that waits has to be said any more.
std::uint64_t DiskTier::clear_all_locked(std::list<Removal>& removal, Index& gone) noexcept {
  const std::uint64_t entries = index_.size();
  std::swap(gone, index_);
  counters_.value_bytes = 0;
  for (auto& [id, segment] : segments_) segment.live = 0;
  removal.front().type = RecordType::kClearOwner;
  removal.front().clear_all = true;
  removals_waiting_.clear();
  erased_waiting_ = 0;
  for (const Removal& each : writing_.removals) erased_waiting_ += each.erased.size();
  removals_.clear();
  clearings_.clear();
  cleared_all_ = clear_waits_ = next_number_;
  enqueue_locked(removal);
  return entries;
}

std::uint64_t DiskTier::purge(std::span<const Key> keys) {
  std::list<Removal> removal(1);
  Removal& front = removal.front();
  front.purged.reserve(keys.size());
  const std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (const Key& key : keys) {
    const Index::Id id = index_.find(key);
    if (!must_log_removal_locked(key, id)) continue;
    front.purged.push_back(key);
    if (id != Index::kNone) count += index_.count_behind(id, index_.size());
  }
  if (front.purged.empty()) return 0;
  front.erased.reserve(std::min(count, index_.size()));
  front.complete = true;
  std::unordered_map<Key, std::uint64_t> numbers;
  for (const Key& key : front.purged) numbers[key] = next_number_;
  removals_.reserve(removals_.size() + numbers.size());
  std::uint64_t gone = 0;
  for (const Key& key : front.purged) {
    if (const Index::Id id = index_.find(key)) gone += erase_locked(id, &front.erased);
  }
  for (auto& [key, number] : numbers) {
    if (const auto known = removals_.find(key); known != removals_.end()) known->second = number;
  }
  removals_.merge(numbers);
  enqueue_locked(removal);
  return gone;
}

}   // namespace tensorcache::disk
