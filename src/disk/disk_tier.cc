#include "disk/disk_tier.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kLargestSegment = std::uint64_t{64} << 20;
constexpr std::uint64_t kMostSegments = 256;   // each holds a file open
constexpr std::uint64_t kFewestSegments = 8;
constexpr std::chrono::seconds kLastWrites{5};
constexpr std::size_t kMostQueued = 65'536;

std::uint64_t suitable_segment(std::uint64_t capacity) {
  return std::clamp(capacity / kMostSegments, std::min(kLargestSegment, capacity / kFewestSegments), std::uint64_t{1} << 30);
}

// A few at least, so that one can go while the others stay.
std::uint64_t segment_for(std::uint64_t asked, std::uint64_t capacity) {
  return asked > 0 ? std::min(asked, capacity / kFewestSegments) : suitable_segment(capacity);
}

[[noreturn]] void refuse(const std::string& directory, const std::string& why) { throw std::runtime_error("disk cache " + directory + ": " + why); }

}   // namespace

DiskTier::DiskTier(DiskTierOptions options)
    : options_(std::move(options)), capacity_(options_.capacity_bytes), segment_bytes_(segment_for(options_.segment_bytes, options_.capacity_bytes)) {
  if (const int error = options_.files->make_directory(options_.directory)) refuse(options_.directory, std::strerror(error));
  int error = 0;
  lock_ = options_.files->lock(options_.directory + "/LOCK", &error);
  if (error == EWOULDBLOCK) {
    refuse(options_.directory, "another process uses it, or this one has it open already; give this one a directory of its own");
  }
  if (!lock_) refuse(options_.directory, std::string("cannot be locked: ") + std::strerror(error));
  counters_.directory = options_.directory;
  writer_ = std::thread([this] { write_loop(); });
}

bool DiskTier::close(std::chrono::milliseconds time) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time, [this] { return ready_ && queue_.empty() && !writing_; });
    stopping_ = true;
    changed_.notify_all();
  }
  if (writer_.joinable()) writer_.join();
  const std::lock_guard lock(mutex_);
  return removals_.empty() && clearings_.empty();
}

DiskTier::~DiskTier() {
  static_cast<void>(close(kLastWrites));
  for (const Write& write : queue_) {
    if (write.written) write.written(false);
  }
  if (options_.give_back) options_.give_back(charged_);
}

std::string DiskTier::path_of(std::uint64_t segment) const { return options_.directory + "/" + segment_name(segment); }

void DiskTier::note(const std::string& event) const {
  if (options_.on_event) options_.on_event("disk cache " + options_.directory + ": " + event);
}

void DiskTier::enqueue_locked(Write write) {
  write.number = next_number_++;
  queued_bytes_ += write.value.bytes.size();
  if (write.type == RecordType::kValue && !write.written) {
    Queued& queued = queued_[write.value.key];
    ++queued.count;
    queued.last = write.number;
    queued.expires = write.value.expires_unix_ms != 0;
  }
  queue_.push_back(std::move(write));
  changed_.notify_all();
}

bool DiskTier::put(Value value) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t bytes = value.bytes.size();
  const bool fits = record_bytes(bytes) + kSegmentHeaderBytes + summary_bytes(1) <= segment_bytes_;
  if (stopping_ || health_.broken || !fits || queue_.size() >= kMostQueued || queued_bytes_ + bytes > options_.queue_bytes) {
    ++(fits ? counters_.dropped_puts : counters_.too_large_puts);
    return false;
  }
  // What waits under this key expired meanwhile, or there would be no other. It must not be taken for this one.
  if (const auto queued = queued_.find(value.key); queued != queued_.end() && queued->second.expires) {
    enqueue_removal_locked(value.key, index_.find(value.key));
  }
  Write write;
  write.value = std::move(value);
  enqueue_locked(std::move(write));
  return true;
}

bool DiskTier::accepts(std::uint64_t value_bytes) const {
  const std::lock_guard lock(mutex_);
  return !stopping_ && !health_.broken && queue_.size() < kMostQueued && queued_bytes_ + value_bytes <= options_.queue_bytes;
}

DiskTier::Presence DiskTier::presence(const Key& key) const {
  const std::lock_guard lock(mutex_);
  if (!ready_) return Presence::kUnknown;
  return index_.find(key) != Index::kNone ? Presence::kStored : Presence::kNotStored;
}

bool DiskTier::knows(const Key& key) const {
  const std::lock_guard lock(mutex_);
  return index_.find(key) != Index::kNone || queued_.contains(key);
}

std::size_t DiskTier::peek(std::span<const Key> chain) const {
  const std::lock_guard lock(mutex_);
  if (!ready_) return 0;
  const auto missing = std::find_if(chain.begin(), chain.end(), [&](const Key& key) { return index_.find(key) == Index::kNone; });
  return static_cast<std::size_t>(missing - chain.begin());
}

std::uint64_t DiskTier::bytes_of(std::span<const Key> keys) const {
  const std::lock_guard lock(mutex_);
  std::uint64_t bytes = 0;
  for (const Key& key : keys) {
    if (const Index::Id id = index_.find(key)) bytes += index_[id].place.value_bytes;
  }
  return bytes;
}

bool DiskTier::remove(const Key& key) {
  const std::lock_guard lock(mutex_);
  // Also where it is not known: it may wait to be written or to be recovered, or lie in the log without an entry.
  const Index::Id id = index_.find(key);
  const auto removal = removals_.find(key);
  const auto queued = queued_.find(key);
  const bool said = id == Index::kNone && removal != removals_.end() && (queued == queued_.end() || queued->second.last < removal->second);
  if (!said) enqueue_removal_locked(key, id);
  return id != Index::kNone;
}

void DiskTier::enqueue_removal_locked(const Key& key, Index::Id id) {
  Write write;
  if (id != Index::kNone) erase_locked(id, &write.erased);
  removals_[key] = next_number_;
  write.type = RecordType::kRemove;
  write.value.key = key;
  enqueue_locked(std::move(write));
}

std::uint64_t DiskTier::clear(std::optional<std::uint64_t> owner) {
  const std::lock_guard lock(mutex_);
  std::vector<Key> doomed;
  index_.for_each([&](Index::Id id) {
    if (!owner || index_.class_of(id).owner == *owner) doomed.push_back(index_[id].key);
  });
  Write write;
  std::uint64_t gone = 0;
  for (const Key& key : doomed) {
    if (const Index::Id id = index_.find(key)) gone += erase_locked(id, owner ? &write.erased : nullptr);
  }
  if (owner) {
    clearings_[*owner] = next_number_;
  } else {
    cleared_all_ = next_number_;
  }
  write.type = RecordType::kClearOwner;
  write.value.owner = owner.value_or(0);
  write.clear_all = !owner;
  enqueue_locked(std::move(write));
  return gone;
}

std::uint64_t DiskTier::purge(std::span<const Key> keys) {
  if (keys.empty()) return 0;
  const std::lock_guard lock(mutex_);
  Write write;
  write.type = RecordType::kRemove;
  std::uint64_t gone = 0;
  for (const Key& key : keys) {
    if (const Index::Id id = index_.find(key)) gone += erase_locked(id, &write.erased);
    removals_[key] = next_number_;
  }
  write.purged.assign(keys.begin(), keys.end());
  enqueue_locked(std::move(write));
  return gone;
}

void DiskTier::name_owner(std::uint64_t owner, const std::string& name) {
  const std::lock_guard lock(mutex_);
  names_changed_ |= std::exchange(names_.owners[owner], name) != name;
}

void DiskTier::name_source(std::uint64_t source, const std::string& name) {
  const std::lock_guard lock(mutex_);
  names_changed_ |= std::exchange(names_.sources[source], name) != name;
}

bool DiskTier::removed_since_locked(const Key& key, std::uint64_t owner, std::uint64_t number) const {
  if (cleared_all_ > number) return true;
  const auto removal = removals_.find(key);
  if (removal != removals_.end() && removal->second > number) return true;
  const auto clearing = clearings_.find(owner);
  return clearing != clearings_.end() && clearing->second > number;
}

void DiskTier::resize(std::uint64_t capacity_bytes) {
  const std::lock_guard lock(mutex_);
  capacity_ = capacity_bytes;
  segment_bytes_ = segment_for(options_.segment_bytes, capacity_bytes);
  changed_.notify_all();
}

void DiskTier::limit_index(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  index_limit_ = bytes;
  changed_.notify_all();
}

bool DiskTier::wait_for_room(std::chrono::milliseconds time) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return queue_.size() < kMostQueued; });
}

bool DiskTier::has_children(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const Index::Id id = index_.find(key);
  if (id != Index::kNone && index_[id].first_child != Index::kNone) return true;
  return std::any_of(queue_.begin(), queue_.end(), [&](const Write& write) { return write.value.parent == key; });
}

void DiskTier::when_written(std::function<void(bool)> done) {
  {
    const std::lock_guard lock(mutex_);
    if (!stopping_) {
      Write write;
      write.written = std::move(done);
      enqueue_locked(std::move(write));
      return;
    }
  }
  done(false);
}

bool DiskTier::flush(std::chrono::milliseconds time) {
  struct Answer {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<bool> written;
  };
  const auto answer = std::make_shared<Answer>();
  when_written([answer](bool written) {
    const std::lock_guard lock(answer->mutex);
    answer->written = written;
    answer->changed.notify_all();
  });
  std::unique_lock lock(answer->mutex);
  answer->changed.wait_for(lock, time, [&] { return answer->written.has_value(); });
  return answer->written.value_or(false);
}

bool DiskTier::wait_ready(std::chrono::milliseconds time) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return ready_; });
}

Index::Id DiskTier::insert_locked(const Key& key, const Place& place, const EntryClass& entry_class, Index::Id parent) {
  const std::uint64_t needed = index_.memory_bytes_after_insert();
  if (needed > charged_) {
    if (options_.charge && !options_.charge(needed - charged_)) {
      ++counters_.index_full;
      return Index::kNone;
    }
    charged_ = needed;
  }
  const Index::Id id = index_.insert(key, place, entry_class, parent);
  if (id == Index::kNone) {
    ++counters_.index_full;
    return id;
  }
  counters_.value_bytes += place.value_bytes;
  ++segments_[place.segment].live;
  return id;
}

void DiskTier::move_locked(Index::Id id, const Place& place) {
  --segments_[index_[id].place.segment].live;
  index_[id].place = place;
  ++segments_[place.segment].live;
}

std::uint64_t DiskTier::erase_locked(Index::Id id, std::vector<Place>* places) {
  std::uint64_t gone = 0;
  index_.erase(id, [&](const Index& index, Index::Id each) {
    const Place& place = index[each].place;
    if (places != nullptr) places->push_back(place);
    counters_.value_bytes -= place.value_bytes;
    --segments_[place.segment].live;
    ++gone;
  });
  return gone;
}

DiskStats DiskTier::stats() const {
  const std::lock_guard lock(mutex_);
  DiskStats stats = counters_;
  stats.capacity_bytes = capacity_;
  stats.used_bytes = used_;
  stats.entries = index_.size();
  stats.index_bytes = charged_;
  stats.queued_bytes = queued_bytes_;
  stats.segments = segments_.size();
  stats.ready = ready_;
  stats.degraded = health_.broken;
  stats.reason = health_.reason;
  return stats;
}

}   // namespace tensorcache::disk
