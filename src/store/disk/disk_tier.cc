#include "store/disk/disk_tier.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kLargestSegment = std::uint64_t{64} << 20;
constexpr std::uint64_t kManySegments = 256;   // target if the segment size is not given
constexpr std::uint64_t kMinSegments = 8;
constexpr std::chrono::seconds kLastWrites{5};
// Practically never, but small enough that adding it to a time point does not overflow.
constexpr std::chrono::hours kLongest{24 * 365};

std::uint64_t suitable_segment(std::uint64_t capacity) {
  return std::clamp(capacity / kManySegments, std::min(kLargestSegment, capacity / kMinSegments), std::uint64_t{1} << 30);
}

// RETURNS the segment size: several segments, so that one can be evicted while the others stay, but
// not too many to keep track of.
std::uint64_t segment_for(std::uint64_t asked, std::uint64_t capacity) {
  if (asked == 0) return suitable_segment(capacity);
  return std::clamp(asked, 2 * capacity / SegmentTable::kMaxSegments, capacity / kMinSegments);
}

std::chrono::milliseconds bounded(std::chrono::milliseconds time) {
  return std::clamp<std::chrono::milliseconds>(time, std::chrono::milliseconds(0), kLongest);
}

[[noreturn]] void refuse(const std::string& directory, const std::string& why) { throw std::runtime_error("disk cache " + directory + ": " + why); }

}   // namespace

DiskTier::DiskTier(DiskTierOptions options)
    : state_(options, segment_for(options.segment_bytes, options.capacity_bytes)),
      directory_(options.directory, options.files, state_.open_files),
      reader_(state_),
      writer_(state_, directory_, reader_) {
  if (const int error = directory_.make()) refuse(options.directory, std::strerror(error));
  const int error = directory_.lock();
  if (error == EWOULDBLOCK) {
    refuse(options.directory, "another process uses it, or this one has it open already; give this one a directory of its own");
  }
  if (error != 0) refuse(options.directory, std::string("cannot be locked: ") + std::strerror(error));
  writer_.start();
}

bool DiskTier::close(std::chrono::milliseconds time) {
  {
    const MutexLock lock(state_.mutex);
    if (!state_.closing) {
      const auto now = std::chrono::steady_clock::now();
      state_.deadline = now + bounded(time);
      state_.recovery_deadline = now + bounded(time) / 2;
    }
    state_.closing = true;
    state_.changed.notify_all();
  }
  writer_.join();
  const MutexLock lock(state_.mutex);
  return state_.nothing_comes_back;
}

DiskTier::~DiskTier() {
  static_cast<void>(close(kLastWrites));
  state_.give_back(state_.charged);
}

DiskTier::Presence DiskTier::presence(const Key& key) const {
  const MutexLock lock(state_.mutex);
  if (!state_.ready) return Presence::kUnknown;
  return state_.catalog.find(key) != Index::kNone ? Presence::kStored : Presence::kNotStored;
}

bool DiskTier::knows(const Key& key) const {
  const MutexLock lock(state_.mutex);
  return state_.catalog.find(key) != Index::kNone || state_.queue.contains(key);
}

bool DiskTier::has_children(const Key& key) const {
  const MutexLock lock(state_.mutex);
  const Index::Id id = state_.catalog.find(key);
  return (id != Index::kNone && state_.catalog[id].first_child != Index::kNone) || state_.queue.has_children(key);
}

std::size_t DiskTier::peek(std::span<const Key> chain) const {
  const MutexLock lock(state_.mutex);
  if (!state_.ready) return 0;
  std::size_t stored = 0;
  while (stored < chain.size() && state_.catalog.find(chain[stored]) != Index::kNone) ++stored;
  return stored;
}

std::uint64_t DiskTier::bytes_of(std::span<const Key> keys) const {
  const MutexLock lock(state_.mutex);
  std::uint64_t bytes = 0;
  for (const Key& key : keys) {
    if (const Index::Id id = state_.catalog.find(key)) bytes += state_.catalog[id].place.value_bytes;
  }
  return bytes;
}

void DiskTier::name_owner(std::uint64_t owner, const std::string& name) { set_name(NameTable::Of::kOwner, owner, name); }
void DiskTier::name_source(std::uint64_t source, const std::string& name) { set_name(NameTable::Of::kSource, source, name); }

void DiskTier::set_name(NameTable::Of of, std::uint64_t number, const std::string& name) {
  const std::string text = printable_name(name);
  const MutexLock lock(state_.mutex);
  if (!state_.names.set(of, number, text)) ++state_.counters.dropped_names;
}

void DiskTier::resize(std::uint64_t capacity_bytes) {
  const MutexLock lock(state_.mutex);
  state_.capacity = capacity_bytes;
  state_.target_segment_bytes = segment_for(state_.options.segment_bytes, capacity_bytes);
  state_.changed.notify_all();
}

void DiskTier::limit_index(std::uint64_t bytes) {
  const MutexLock lock(state_.mutex);
  state_.index_limit = bytes;
  state_.index_limit_changed = true;
  state_.changed.notify_all();
}

bool DiskTier::flush(std::chrono::milliseconds time) {
  struct Answer {
    Mutex mutex;
    CondVar changed;
    std::optional<bool> written TC_GUARDED_BY(mutex);
  };
  const auto answer = std::make_shared<Answer>();
  when_written([answer](bool written) {
    const MutexLock lock(answer->mutex);
    answer->written = written;
    answer->changed.notify_all();
  });
  const MutexLock lock(answer->mutex);
  answer->changed.wait_for(answer->mutex, bounded(time), [&]() TC_REQUIRES(answer->mutex) { return answer->written.has_value(); });
  return answer->written.value_or(false);
}

bool DiskTier::wait_ready(std::chrono::milliseconds time) const {
  const MutexLock lock(state_.mutex);
  return state_.changed.wait_for(state_.mutex, bounded(time), [this]() TC_REQUIRES(state_.mutex) { return state_.ready; });
}

bool DiskTier::wait_for_room(std::chrono::milliseconds time) const {
  const MutexLock lock(state_.mutex);
  state_.changed.wait_for(state_.mutex, bounded(time),
                          [&]() TC_REQUIRES(state_.mutex) { return !state_.ledger.is_half_full() || state_.health.broken() || state_.closing; });
  return !state_.ledger.is_half_full();
}

bool DiskTier::wait_for_queue(std::uint64_t value_bytes, std::chrono::milliseconds time) const {
  const MutexLock lock(state_.mutex);
  tier::Room room = tier::Room::kFull;
  state_.changed.wait_for(state_.mutex, bounded(time), [&]() TC_REQUIRES(state_.mutex) {
    room = state_.room_locked(value_bytes, tier::Urgency::kUrgent);
    return room != tier::Room::kFull;
  });
  return room == tier::Room::kFree;
}

DiskStats DiskTier::stats() const {
  const MutexLock lock(state_.mutex);
  DiskStats stats = state_.counters;
  stats.capacity_bytes = state_.capacity;
  stats.used_bytes = state_.catalog.segments().file_bytes() + state_.sidecars.bytes();
  stats.value_bytes = state_.catalog.value_bytes();
  stats.entries = state_.catalog.index().size();
  stats.index_bytes = state_.charged;
  stats.queued_bytes = state_.queue.bytes();
  stats.segments = state_.catalog.segments().size();
  stats.ready = state_.ready;
  stats.degraded = state_.health.broken();
  stats.reason = state_.health.reason();
  stats.queued_removals = state_.ledger.size();
  stats.unlisted_records = state_.catalog.segments().unlisted();
  stats.sidecar_bytes = state_.sidecars.bytes();
  stats.open_files = state_.open_files.open_count();
  return stats;
}

std::vector<std::uint64_t> DiskTier::sources_named(const std::string& name) const {
  const std::string text = printable_name(name);
  const MutexLock lock(state_.mutex);
  return state_.names.sources_named(text);
}

}   // namespace tensorcache::disk
