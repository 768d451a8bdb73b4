#include "store/disk/disk_state.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

namespace tensorcache::disk {
namespace {

constexpr Index::Id kSlice = 4096;   // entries visited per hold of the mutex

}   // namespace

DiskState::DiskState(DiskTierOptions tier_options, std::uint64_t segment_bytes)
    : options(std::move(tier_options)),
      open_files(options.files, std::max<std::size_t>(options.files->max_open_files(), 1)),
      queue(options.queue_bytes),
      health(options.retry_pause),
      capacity(options.capacity_bytes),
      target_segment_bytes(segment_bytes),
      index_limit(options.index_bytes_limit) {
  counters.directory = options.directory;
}

void DiskState::note(const std::string& event) const {
  if (!options.on_event) return;
  try {
    options.on_event("disk cache " + options.directory + ": " + event);
  } catch (...) {   // NOLINT: a log that fails is not the disk's affair
  }
}

void DiskState::fail(const char* what, int error) {
  bool news = false;
  std::string reason = std::string(what) + ": " + std::strerror(error);
  {
    const MutexLock lock(mutex);
    ++counters.write_errors;
    news = health.fail(reason, std::chrono::steady_clock::now());
    changed.notify_all();
  }
  if (news) note(reason + "; writing resumes when the disk works again");
}

void DiskState::give_back(std::uint64_t bytes) const {
  if (bytes > 0 && options.give_back) options.give_back(bytes);
}

void DiskState::account_sidecar(const std::string& name, std::uint64_t bytes) {
  const MutexLock lock(mutex);
  sidecars.set(name, bytes);
  changed.notify_all();
}

bool DiskState::broken() const {
  const MutexLock lock(mutex);
  return health.broken();
}

bool DiskState::over_budget_locked() const {
  return catalog.segments().file_bytes() + sidecars.bytes() > capacity && !catalog.segments().empty() && !health.broken();
}

bool DiskState::fits_segment(std::uint64_t value_bytes) const {
  return record_bytes(value_bytes) + kSegmentHeaderBytes + summary_bytes(1) <= target_segment_bytes;
}

bool DiskState::over_budget() const {
  const MutexLock lock(mutex);
  return over_budget_locked();
}

std::uint64_t DiskState::segment_bytes() const {
  const MutexLock lock(mutex);
  return target_segment_bytes;
}

bool DiskState::segment_exists(std::uint32_t segment) const {
  const MutexLock lock(mutex);
  return catalog.segments().contains(segment);
}

std::size_t DiskState::segment_count() const {
  const MutexLock lock(mutex);
  return catalog.segments().size();
}

bool DiskState::removals_wait() const {
  const MutexLock lock(mutex);
  return !ledger.waiting().empty();
}

bool DiskState::late_locked() const { return closing && std::chrono::steady_clock::now() >= deadline; }

bool DiskState::late() const {
  const MutexLock lock(mutex);
  return late_locked();
}

// Recovery gets half of the time; the other half is for removals, which need no index.
bool DiskState::recovery_is_late() const {
  const MutexLock lock(mutex);
  return closing && std::chrono::steady_clock::now() >= recovery_deadline;
}

// RETURNS true if the log may hold a record of the key. It does not if the key is neither indexed
// nor being written and every record without an entry is accounted for.
bool DiskState::must_log_removal_locked(const Key& key, Index::Id id) const {
  if (closed) return false;
  if (id != Index::kNone) return true;
  const std::uint64_t written = queue.last_number(key);
  if (ledger.names_since(key, written)) return false;
  return written > 0 || !recovered || catalog.segments().unlisted() > 0;
}

void DiskState::remove_locked(const Key& key, Index::Id id, std::list<Removal>& removal) {
  Removal& front = removal.front();
  front.key = key;
  front.complete = true;
  if (id != Index::kNone) {
    const std::size_t most = ledger.places_left(), count = catalog.index().count_behind(id, most + 1);
    front.complete = count <= most;
    front.erased.reserve(std::min(count, most));
  }
  ledger.name(key);
  if (id != Index::kNone) catalog.erase(id, &front.erased);
  enqueue_locked(removal);
}

void DiskState::enqueue_locked(std::list<Removal>& removal) noexcept {
  ledger.enqueue(removal);
  changed.notify_all();
}

// Forgets the entry unless its value was rewritten elsewhere since. `for_good`: the next start must
// not use the record either; a removal is logged if that is cheap.
void DiskState::forget_at_locked(const Key& key, const Place& place, bool for_good) {
  const Index::Id id = catalog.find(key);
  if (id == Index::kNone || catalog[id].place != place) return;
  if (for_good && !health.broken() && !queue.contains(key) && !ledger.is_half_full()) {
    try {
      std::list<Removal> removal(1);
      remove_locked(key, id, removal);
      return;
    } catch (const std::bad_alloc&) {   // then it stays accounted as unlisted
    }
  }
  catalog.forget(id);
}

// Visits all entries in slices; other threads get the mutex in between. Only the writing thread
// inserts or moves entries, so it misses none.
void DiskState::walk_index(const std::function<bool(Index::Id)>& visit) {
  for (Index::Id begin = 1;;) {
    {
      const MutexLock lock(mutex);
      const Index::Id end = std::min(catalog.index().end_id(), begin + kSlice);
      for (; begin < end; ++begin) {
        if (catalog.index().is_entry(begin) && !visit(begin)) return;
      }
      if (begin >= catalog.index().end_id()) return;
    }
    std::this_thread::yield();
  }
}

// Forgets all entries of a segment and their descendants. `stays`: the file is kept.
std::uint64_t DiskState::forget_segment(std::uint32_t id, bool stays) {
  std::uint64_t gone = 0;
  walk_index([&](Index::Id each) TC_REQUIRES(mutex) {
    Segment* const segment = catalog.segments().find(id);
    if (segment == nullptr || segment->live() == 0) return false;
    if (catalog[each].place.segment == id) gone += catalog.forget(each, stays ? 0 : id);
    return true;
  });
  return gone;
}

}   // namespace tensorcache::disk
