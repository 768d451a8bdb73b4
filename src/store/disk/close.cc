// Closes the tier: removed values must not reappear at the next start, whatever state the disk is
// in.
#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "store/disk/writer.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kBatchWrites = 1024;

}   // namespace

// Writes pending removals before the values, which may be many. So values that were removed since
// are marked as forgotten now.
void Writer::write_last_removals() {
  {
    const MutexLock lock(state_.mutex);
    for (Write& write : state_.queue.waiting()) write.forgotten |= state_.ledger.removed_since(write.value, write.number);
  }
  if (state_.broken() && state_.removals_wait() && !state_.late()) heal();
  std::size_t left = SIZE_MAX;
  while (!state_.broken() && !state_.late()) {
    {
      const MutexLock lock(state_.mutex);
      if (state_.ledger.waiting().empty() || state_.ledger.waiting().size() >= left) return;
      left = state_.ledger.waiting().size();
      for (std::size_t i = std::min(left, kBatchWrites); i > 0; --i) state_.ledger.take(writing_removals_);
    }
    write_batch();
  }
}

void Writer::write_last_values() {
  while (state_.recovered && !state_.broken() && !state_.late()) {
    {
      const MutexLock lock(state_.mutex);
      if (state_.queue.empty()) break;
      take_batch_locked();
    }
    write_batch();
    while (state_.over_budget() && !state_.late() && log_.evict_oldest(false)) {
    }
  }
  if (state_.broken() || state_.late()) return;
  log_.seal_segment();
  if (!state_.late()) side_files_.save_names();
  if (!state_.late() && state_.recovered) side_files_.save_usage();
  while (scrubber_.sweep_is_due() && !state_.late()) scrubber_.sweep_some();
}

void Writer::finish() noexcept {
  {
    const MutexLock lock(state_.mutex);
    state_.queue.take_all(writing_values_);
  }
  std::list<Write> left;
  {
    const MutexLock lock(state_.mutex);
    scrubber_.take_parked(left);
    for (auto write = writing_values_.begin(); write != writing_values_.end();) {
      const auto each = write++;
      if (each->written) {
        left.splice(left.end(), writing_values_, each);
      } else {
        ++state_.counters.dropped_puts;
      }
    }
  }
  done_with_values(writing_values_.begin(), writing_values_.end());
  answer_all(left);
  std::uint64_t last = 0;   // last removal that is taken care of
  for (bool done = false; !done;) {
    bool good = false;
    try {
      good = !state_.removals_wait() || unlink_removed() || directory_.mark_stale();
      if (!good) state_.note("removed values may be served after the next start: their removal could not be logged, nor their segments unlinked");
    } catch (...) {   // out of memory; the mark needs little
      try {
        good = directory_.mark_stale();
      } catch (...) {
        good = false;
      }
    }
    log_.close_log();
    const MutexLock lock(state_.mutex);
    state_.nothing_comes_back = good;
    const std::uint64_t newest = state_.ledger.waiting().empty() ? last : state_.ledger.waiting().back().number;
    state_.closed = done = newest == std::exchange(last, newest);   // false if more came meanwhile
  }
}

// Fallback: unlinking often works when writing does not.
bool Writer::unlink_removed() {
  log_.close_log();
  if (!directory_.is_ours() && state_.options.files->exists(directory_.path_of("LOCK"))) return true;   // another cache owns the directory
  const std::vector<std::uint32_t> ids = segments_of_removed();
  for (const std::uint32_t id : ids) {
    const int error = state_.options.files->remove(directory_.path_of(id));
    if (error != 0 && error != ENOENT) return false;
  }
  if (state_.options.files->sync_directory(state_.options.directory) != 0 && state_.options.files->exists(state_.options.directory)) return false;
  state_.note("removals could not be written in time; dropped " + std::to_string(ids.size()) + " segments that may hold removed values");
  return true;
}

// RETURNS the segments that may hold removed values; all segments if that is unknown. Segments
// older than one with removals are included, because they depend on these removals.
std::vector<std::uint32_t> Writer::segments_of_removed() const {
  bool known = state_.recovered;
  std::set<std::uint32_t> ids;
  {
    const MutexLock lock(state_.mutex);
    known = known && state_.catalog.segments().unlisted() == 0;
    for (const Removal& removal : state_.ledger.waiting()) {
      known = known && removal.complete && !removal.clear_all;
      for (const Place& place : removal.erased) ids.insert(place.segment);
    }
    std::uint32_t all_below = 0;
    for (const std::uint32_t id : ids) {
      if (const Segment* const segment = state_.catalog.segments().find(id); segment != nullptr && segment->has_removals) all_below = id;
    }
    for (const auto& [id, segment] : state_.catalog.segments()) {
      if (!known || id < all_below) ids.insert(id);
    }
  }
  std::vector<std::string> names;
  if (!known && state_.options.files->list(state_.options.directory, &names) == 0) {
    for (const std::string& name : names) {
      if (const auto id = segment_id(name)) ids.insert(static_cast<std::uint32_t>(*id));
    }
  }
  return {ids.begin(), ids.end()};
}

}   // namespace tensorcache::disk
