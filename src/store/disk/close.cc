// The end: what was removed must not come back at the next start, whatever state the disk is in.
#include <algorithm>
#include <cerrno>
#include <iterator>
#include <set>
#include <utility>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kBatchWrites = 1024;

}   // namespace

bool DiskTier::late_locked() const { return closing_ && std::chrono::steady_clock::now() >= deadline_; }

bool DiskTier::late() const {
  const MutexLock lock(mutex_);
  return late_locked();
}

// Half of the time is for removals, which need no index.
bool DiskTier::recovery_is_late() const {
  const MutexLock lock(mutex_);
  return closing_ && std::chrono::steady_clock::now() >= recovery_deadline_;
}

bool DiskTier::removals_wait() const {
  const MutexLock lock(mutex_);
  return !ledger_.waiting().empty();
}

// Before the values, which may be many. So values that were removed since have to be told from the others now.
void DiskTier::write_last_removals() {
  {
    const MutexLock lock(mutex_);
    for (Write& write : queue_.waiting()) write.forgotten |= ledger_.removed_since(write.value, write.number);
  }
  if (broken() && removals_wait() && !late()) heal();
  std::size_t left = SIZE_MAX;
  while (!broken() && !late()) {
    {
      const MutexLock lock(mutex_);
      if (ledger_.waiting().empty() || ledger_.waiting().size() >= left) return;
      left = ledger_.waiting().size();
      for (std::size_t i = std::min(left, kBatchWrites); i > 0; --i) ledger_.take(writing_removals_);
    }
    write_batch();
  }
}

void DiskTier::write_last_values() {
  while (recovered_ && !broken() && !late()) {
    {
      const MutexLock lock(mutex_);
      if (queue_.empty()) break;
      take_batch_locked();
    }
    write_batch();
    while (over_budget() && !late() && evict_oldest(false)) {
    }
  }
  if (broken() || late()) return;
  seal_segment();
  if (!late()) save_names();
  if (!late() && recovered_) save_usage();
  while (sweep_is_due() && !late()) sweep_some();
}

void DiskTier::finish() noexcept {
  {
    const MutexLock lock(mutex_);
    queue_.take_all(writing_values_);
  }
  std::list<Write> left;
  {
    const MutexLock lock(mutex_);
    left.splice(left.end(), parked_);
    for (auto write = writing_values_.begin(); write != writing_values_.end();) {
      const auto each = write++;
      if (each->written) {
        left.splice(left.end(), writing_values_, each);
      } else {
        ++counters_.dropped_puts;
      }
    }
  }
  done_with_values(writing_values_.begin(), writing_values_.end());
  answer_all(left);
  std::uint64_t last = 0;   // of the removals that were taken care of
  for (bool done = false; !done;) {
    bool good = false;
    try {
      good = !removals_wait() || unlink_removed() || mark_stale();
      if (!good) note("values that were removed may be served after the next start: neither writing nor unlinking works");
    } catch (...) {   // no memory; the mark needs little
      try {
        good = mark_stale();
      } catch (...) {
        good = false;
      }
    }
    close_log();
    const MutexLock lock(mutex_);
    nothing_comes_back_ = good;
    const std::uint64_t newest = ledger_.waiting().empty() ? last : ledger_.waiting().back().number;
    closed_ = done = newest == std::exchange(last, newest);   // or some came meanwhile
  }
}

// Unlinking often works where writing does not.
bool DiskTier::unlink_removed() {
  close_log();
  if (!owns_directory() && options_.files->exists(path_of("LOCK"))) return true;   // nothing in it is ours
  const std::vector<std::uint32_t> ids = segments_of_removed();
  for (const std::uint32_t id : ids) {
    const int error = options_.files->remove(path_of(id));
    if (error != 0 && error != ENOENT) return false;
  }
  if (options_.files->sync_directory(options_.directory) != 0 && options_.files->exists(options_.directory)) return false;
  note("removals could not be written before the end; " + std::to_string(ids.size()) + " segments that may hold removed values were dropped");
  return true;
}

// All of the directory's, where it is not known which ones. A segment's own removals count for older ones, so these go with it.
std::vector<std::uint32_t> DiskTier::segments_of_removed() const {
  bool known = recovered_;
  std::set<std::uint32_t> ids;
  {
    const MutexLock lock(mutex_);
    known = known && catalog_.segments().unlisted() == 0;
    for (const Removal& removal : ledger_.waiting()) {
      known = known && removal.complete && !removal.clear_all;
      for (const Place& place : removal.erased) ids.insert(place.segment);
    }
    std::uint32_t all_below = 0;
    for (const std::uint32_t id : ids) {
      if (const Segment* const segment = catalog_.segments().find(id); segment != nullptr && segment->has_removals) all_below = id;
    }
    for (const auto& [id, segment] : catalog_.segments()) {
      if (!known || id < all_below) ids.insert(id);
    }
  }
  std::vector<std::string> names;
  if (!known && options_.files->list(options_.directory, &names) == 0) {
    for (const std::string& name : names) {
      if (const auto id = segment_id(name)) ids.insert(static_cast<std::uint32_t>(*id));
    }
  }
  return {ids.begin(), ids.end()};
}

// An empty file, which the next start takes for "drop the log". It needs no room on the disk.
bool DiskTier::mark_stale() {
  if (!owns_directory() && options_.files->exists(path_of("LOCK"))) return true;   // nothing in it is ours
  int error = 0;
  const std::shared_ptr<file::File> mark = open_files_.open(path_of("stale"), file::Open::kCreate, &error);
  return (mark || error == EEXIST) && options_.files->sync_directory(options_.directory) == 0;
}

}   // namespace tensorcache::disk
