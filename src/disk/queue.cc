// What callers ask for: values and removals on their way to the writing thread. Each member has the strong guarantee.
#include <algorithm>
#include <new>
#include <thread>
#include <utility>

#include "base/call_back.h"
#include "disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kMostQueued = 65'536;
constexpr std::uint64_t kMostErased = 262'144;   // places of removed records that wait to be overwritten; 12 bytes each
constexpr std::size_t kMostPurged = 262'144;     // keys of purges that wait, but for one purge that has more
constexpr Index::Id kSlice = 4096;               // entries of one look under the mutex
constexpr std::size_t kMostAtOnce = 1024;        // that are erased under it

}   // namespace

bool DiskTier::removed_since_locked(const Key& key, std::uint64_t owner, std::uint64_t number) const {
  if (cleared_all_ > number) return true;
  const auto removal = removals_.find(key);
  if (removal != removals_.end() && removal->second > number) return true;
  const auto clearing = clearings_.find(owner);
  return clearing != clearings_.end() && clearing->second > number;
}

// Of what was stored at any time before.
bool DiskTier::removal_waits_locked(const Key& key, std::uint64_t owner) const {
  return clear_waits_ > 0 || removals_.contains(key) || clearings_.contains(owner);
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
  detail::call_back(done, false);
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
  {
    const std::lock_guard lock(mutex_);
    if (!owner) return clear_all_locked(removal, gone);
    if (waiting_removals_locked() >= kMostRemovals) {
      ++counters_.collapsed_logs;
      return clear_all_locked(removal, gone);
    }
  }
  const std::lock_guard one_at_a_time(clearing_mutex_);
  removal.front().type = RecordType::kClearOwner;
  removal.front().owner = *owner;
  {
    const std::lock_guard lock(mutex_);
    clearings_[*owner] = UINT64_MAX;   // nothing of this owner gets an entry meanwhile
    ++clearing_walks_;
  }
  const std::uint64_t count = erase_owner(*owner, removal.front().erased);
  const std::lock_guard lock(mutex_);
  --clearing_walks_;
  changed_.notify_all();
  std::vector<Place>& erased = removal.front().erased;
  if (erased_waiting_ + erased.size() > kMostErased) erased.resize(kMostErased - std::min(erased_waiting_, kMostErased));
  removal.front().complete = erased.size() == count;
  if (const auto clearing = clearings_.find(*owner); clearing != clearings_.end()) clearing->second = next_number_;
  enqueue_locked(removal);
  return count;
}

// In slices, between which others get the mutex. `erased`: where as many of them lie as there is memory for.
std::uint64_t DiskTier::erase_owner(std::uint64_t owner, std::vector<Place>& erased) noexcept {
  std::uint64_t gone = 0;
  for (Index::Id at = 1;; std::this_thread::yield()) {
    if (erased.capacity() - erased.size() < kMostAtOnce && erased.capacity() < kMostErased) {
      try {
        erased.reserve(std::max<std::size_t>(2 * erased.capacity(), kMostAtOnce));
      } catch (const std::bad_alloc&) {   // then the log says it alone
      }
    }
    const std::lock_guard lock(mutex_);
    const Index::Id end = std::min(index_.end_id(), at + kSlice);
    for (std::size_t left = kMostAtOnce; at < end && left > 0;) {
      if (!index_.is_entry(at) || index_.class_of(at).owner != owner) {
        ++at;
        continue;
      }
      const std::uint64_t count = erase_locked(at, &erased, left);
      gone += count;
      left -= count;
    }
    if (at >= index_.end_id()) return gone;
  }
}

// The files go as a whole, so nothing else that waits has to be said any more.
std::uint64_t DiskTier::clear_all_locked(std::list<Removal>& removal, Index& gone) noexcept {
  const std::uint64_t entries = index_.size();
  std::swap(gone, index_);
  counters_.value_bytes = 0;
  for (auto& [id, segment] : segments_) segment.live = 0;
  Removal& front = removal.front();
  front.type = RecordType::kClearOwner;
  front.clear_all = true;
  front.purged.clear();
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
  Index dropped;   // freed without the lock
  const std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (const Key& key : keys) {
    const Index::Id id = index_.find(key);
    if (!must_log_removal_locked(key, id)) continue;
    front.purged.push_back(key);
    if (id != Index::kNone) count += index_.count_behind(id, index_.size());
  }
  if (front.purged.empty()) return 0;
  const bool purges_wait = removals_.size() > kMostRemovals;
  if (waiting_removals_locked() >= kMostRemovals || (purges_wait && removals_.size() + front.purged.size() > kMostPurged)) {
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
