#include "store/disk/disk_tier.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kLargestSegment = std::uint64_t{64} << 20;
constexpr std::uint64_t kManySegments = 256;   // where the size may be chosen
constexpr std::uint64_t kMinSegments = 8;
constexpr std::chrono::seconds kLastWrites{5};
// Far enough to be never, and near enough not to overflow a time point.
constexpr std::chrono::hours kLongest{24 * 365};

std::uint64_t suitable_segment(std::uint64_t capacity) {
  return std::clamp(capacity / kManySegments, std::min(kLargestSegment, capacity / kMinSegments), std::uint64_t{1} << 30);
}

// A few at least, so that one can go while the others stay, and not too many to keep account of.
std::uint64_t segment_for(std::uint64_t asked, std::uint64_t capacity) {
  if (asked == 0) return suitable_segment(capacity);
  return std::clamp(asked, 2 * capacity / DiskTier::kMaxSegments, capacity / kMinSegments);
}

std::chrono::milliseconds bounded(std::chrono::milliseconds time) {
  return std::clamp<std::chrono::milliseconds>(time, std::chrono::milliseconds(0), kLongest);
}

[[noreturn]] void refuse(const std::string& directory, const std::string& why) { throw std::runtime_error("disk cache " + directory + ": " + why); }

}   // namespace

DiskTier::DiskTier(DiskTierOptions options)
    : options_(std::move(options)),
      open_files_(options_.files, std::max<std::size_t>(options_.files->most_open_files(), 1)),
      capacity_(options_.capacity_bytes),
      segment_bytes_(segment_for(options_.segment_bytes, options_.capacity_bytes)),
      index_limit_(options_.index_bytes_limit),
      queue_(options_.queue_bytes),
      health_(options_.retry_pause) {
  if (const int error = options_.files->make_directory(options_.directory)) refuse(options_.directory, std::strerror(error));
  int error = 0;
  lock_ = options_.files->lock(path_of("LOCK"), &error);
  if (error == EWOULDBLOCK) {
    refuse(options_.directory, "another process uses it, or this one has it open already; give this one a directory of its own");
  }
  if (!lock_) refuse(options_.directory, std::string("cannot be locked: ") + std::strerror(error));
  counters_.directory = options_.directory;
  writer_ = std::thread([this] { write_loop(); });
}

bool DiskTier::close(std::chrono::milliseconds time) {
  {
    const MutexLock lock(mutex_);
    if (!closing_) {
      const auto now = std::chrono::steady_clock::now();
      deadline_ = now + bounded(time);
      recovery_deadline_ = now + bounded(time) / 2;
    }
    closing_ = true;
    changed_.notify_all();
  }
  std::call_once(joined_, [this] { writer_.join(); });
  const MutexLock lock(mutex_);
  return nothing_comes_back_;
}

DiskTier::~DiskTier() {
  static_cast<void>(close(kLastWrites));
  give_back(charged_ + log_.charged + orphans_charged_);
}

std::string DiskTier::path_of(std::uint64_t segment) const { return options_.directory + "/" + segment_name(segment); }
std::string DiskTier::path_of(const char* name) const { return options_.directory + "/" + name; }

void DiskTier::note(const std::string& event) const {
  if (!options_.on_event) return;
  try {
    options_.on_event("disk cache " + options_.directory + ": " + event);
  } catch (...) {   // NOLINT: a log that fails is not the disk's affair
  }
}

DiskTier::Presence DiskTier::presence(const Key& key) const {
  const MutexLock lock(mutex_);
  if (!ready_) return Presence::kUnknown;
  return catalog_.find(key) != Index::kNone ? Presence::kStored : Presence::kNotStored;
}

bool DiskTier::knows(const Key& key) const {
  const MutexLock lock(mutex_);
  return catalog_.find(key) != Index::kNone || queue_.contains(key);
}

bool DiskTier::has_children(const Key& key) const {
  const MutexLock lock(mutex_);
  const Index::Id id = catalog_.find(key);
  return (id != Index::kNone && catalog_[id].first_child != Index::kNone) || queue_.has_children(key);
}

std::size_t DiskTier::peek(std::span<const Key> chain) const {
  const MutexLock lock(mutex_);
  if (!ready_) return 0;
  std::size_t stored = 0;
  while (stored < chain.size() && catalog_.find(chain[stored]) != Index::kNone) ++stored;
  return stored;
}

std::uint64_t DiskTier::bytes_of(std::span<const Key> keys) const {
  const MutexLock lock(mutex_);
  std::uint64_t bytes = 0;
  for (const Key& key : keys) {
    if (const Index::Id id = catalog_.find(key)) bytes += catalog_[id].place.value_bytes;
  }
  return bytes;
}

void DiskTier::name_owner(std::uint64_t owner, const std::string& name) { set_name(NameTable::Of::kOwner, owner, name); }
void DiskTier::name_source(std::uint64_t source, const std::string& name) { set_name(NameTable::Of::kSource, source, name); }

void DiskTier::set_name(NameTable::Of of, std::uint64_t number, const std::string& name) {
  const std::string text = printable_name(name);
  const MutexLock lock(mutex_);
  if (!names_.set(of, number, text)) ++counters_.dropped_names;
}

void DiskTier::resize(std::uint64_t capacity_bytes) {
  const MutexLock lock(mutex_);
  capacity_ = capacity_bytes;
  segment_bytes_ = segment_for(options_.segment_bytes, capacity_bytes);
  changed_.notify_all();
}

void DiskTier::limit_index(std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  index_limit_ = bytes;
  index_limit_changed_ = true;
  changed_.notify_all();
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
  const MutexLock lock(mutex_);
  return changed_.wait_for(mutex_, bounded(time), [this]() TC_REQUIRES(mutex_) { return ready_; });
}

bool DiskTier::wait_for_room(std::chrono::milliseconds time) const {
  const MutexLock lock(mutex_);
  changed_.wait_for(mutex_, bounded(time), [&]() TC_REQUIRES(mutex_) { return !ledger_.is_half_full() || health_.broken() || closing_; });
  return !ledger_.is_half_full();
}

DiskStats DiskTier::stats() const {
  const MutexLock lock(mutex_);
  DiskStats stats = counters_;
  stats.capacity_bytes = capacity_;
  stats.used_bytes = catalog_.segments().file_bytes() + sidecars_.bytes();
  stats.value_bytes = catalog_.value_bytes();
  stats.entries = catalog_.index().size();
  stats.index_bytes = charged_;
  stats.queued_bytes = queue_.bytes();
  stats.segments = catalog_.segments().size();
  stats.ready = ready_;
  stats.degraded = health_.broken();
  stats.reason = health_.reason();
  stats.queued_removals = ledger_.size();
  stats.unlisted_records = catalog_.segments().unlisted();
  stats.sidecar_bytes = sidecars_.bytes();
  stats.open_files = open_files_.open_count();
  return stats;
}

std::vector<std::uint64_t> DiskTier::sources_named(const std::string& name) const {
  const std::string text = printable_name(name);
  const MutexLock lock(mutex_);
  return names_.sources_named(text);
}

}   // namespace tensorcache::disk
