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
      index_limit_(options_.index_bytes_limit) {
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
    const std::lock_guard lock(mutex_);
    if (!closing_) {
      const auto now = std::chrono::steady_clock::now();
      deadline_ = now + bounded(time);
      recovery_deadline_ = now + bounded(time) / 2;
    }
    closing_ = true;
    changed_.notify_all();
  }
  std::call_once(joined_, [this] { writer_.join(); });
  const std::lock_guard lock(mutex_);
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
  const std::lock_guard lock(mutex_);
  if (!ready_) return Presence::kUnknown;
  return index_.find(key) != Index::kNone ? Presence::kStored : Presence::kNotStored;
}

bool DiskTier::knows(const Key& key) const {
  const std::lock_guard lock(mutex_);
  return index_.find(key) != Index::kNone || queued_.contains(key);
}

bool DiskTier::has_children(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const Index::Id id = index_.find(key);
  return (id != Index::kNone && index_[id].first_child != Index::kNone) || queued_children_.contains(key);
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

void DiskTier::name_owner(std::uint64_t owner, const std::string& name) { set_name(&Names::owners, owner, name); }
void DiskTier::name_source(std::uint64_t source, const std::string& name) { set_name(&Names::sources, source, name); }

void DiskTier::set_name(std::map<std::uint64_t, std::string> Names::* names, std::uint64_t number, const std::string& name) {
  std::string text = printable_name(name);
  const std::lock_guard lock(mutex_);
  const auto known = (names_.*names).find(number);
  if (known != (names_.*names).end() && known->second == text) return;
  if (add_name(names_.*names, number, std::move(text))) {
    names_changed_ = true;
  } else {
    ++counters_.dropped_names;
  }
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
  index_limit_changed_ = true;
  changed_.notify_all();
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
  answer->changed.wait_for(lock, bounded(time), [&] { return answer->written.has_value(); });
  return answer->written.value_or(false);
}

bool DiskTier::wait_ready(std::chrono::milliseconds time) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, bounded(time), [this] { return ready_; });
}

bool DiskTier::wait_for_room(std::chrono::milliseconds time) const {
  std::unique_lock lock(mutex_);
  const auto has_room = [this] { return waiting_removals_locked() < kMaxRemovals / 2; };
  changed_.wait_for(lock, bounded(time), [&] { return has_room() || health_.broken || closing_; });
  return has_room();
}

DiskStats DiskTier::stats() const {
  const std::lock_guard lock(mutex_);
  DiskStats stats = counters_;
  stats.capacity_bytes = capacity_;
  stats.used_bytes = used_ + sidecar_bytes_locked(true);
  stats.entries = index_.size();
  stats.index_bytes = charged_;
  stats.queued_bytes = queued_bytes_;
  stats.segments = segments_.size();
  stats.ready = ready_;
  stats.degraded = health_.broken;
  stats.reason = health_.reason;
  stats.queued_removals = waiting_removals_locked();
  stats.unlisted_records = unlisted_;
  stats.sidecar_bytes = sidecar_bytes_locked(true);
  stats.open_files = open_files_.open_count();
  return stats;
}

std::vector<std::uint64_t> DiskTier::sources_named(const std::string& name) const {
  const std::string text = printable_name(name);
  std::vector<std::uint64_t> sources;
  const std::lock_guard lock(mutex_);
  for (const auto& [source, known] : names_.sources) {
    if (known == text) sources.push_back(source);
  }
  return sources;
}

}   // namespace tensorcache::disk
