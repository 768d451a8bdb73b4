// Deleting what an owner has, what came from a source, what is old: out of the index at once, in slices; then a removal for the queue.
#include <algorithm>
#include <functional>
#include <iterator>
#include <new>
#include <thread>
#include <utility>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr Index::Id kSlice = 4096;            // entries of one look under the mutex
constexpr std::size_t kMaxAtOnce = 1024;      // that are erased under it
constexpr std::size_t kRecordsAtOnce = 256;   // that are looked up under it
constexpr std::size_t kMaxTimed = 32;         // selections by age that wait or are being overwritten: as many as a class has free bits
constexpr std::uint64_t kMaxWipes = 4096;     // selections of any kind
// Between slices: who waits for the mutex would not get it from a thread that takes it again at once.
constexpr std::chrono::microseconds kPause{50};

// `finish` whatever becomes of `meanwhile`.
template <class Finish>
void run_then(const std::function<void()>& meanwhile, const Finish& finish) {
  try {
    if (meanwhile) meanwhile();
  } catch (...) {
    finish();
    throw;
  }
  finish();
}

}   // namespace

struct DiskTier::Walk {
  const Selected& what;
  std::vector<Place>& erased;           // where as many lie as there is memory for
  std::vector<std::uint32_t> whole{};   // by age: segments that hold nothing younger; sorted
  std::vector<std::uint32_t> mixed{};   // that hold some of it and perhaps younger ones
  std::uint64_t gone = 0;
  bool chained = false;   // some did not match themselves
};

std::uint64_t DiskTier::clear(Selected what, const std::function<void()>& meanwhile) {
  std::list<Removal> removal(1);
  std::list<RemovalLedger::Clearing> clearing(1);
  clearing.front().what = what;
  Removal& front = removal.front();
  front.type = RecordType::kClearOwner;
  front.what = std::move(what);
  Walk walk{front.what, front.erased};
  const std::lock_guard one_at_a_time(clearing_mutex_);
  bool everything = front.what.is_everything();
  {
    const MutexLock lock(mutex_);
    const bool timed = front.what.until_unix_ms.has_value();
    const bool too_many = ledger_.is_full() || counters_.pending_wipes >= kMaxWipes || (timed && ledger_.selections() + timed_wipes_ >= kMaxTimed);
    if (too_many && !everything) ++counters_.collapsed_logs;
    everything = everything || too_many;
    if (!everything) {
      if (timed) choose_segments_locked(walk);
      ledger_.begin_clear(front.what, clearing);
      ++clearing_walks_;
    }
  }
  if (everything) return clear_all(removal, meanwhile);
  erase_of_class(walk);
  if (!walk.mixed.empty()) {
    for (const std::uint32_t segment : walk.mixed) erase_by_age(walk, segment);
    std::sort(walk.whole.begin(), walk.whole.end());
    erase_of_class(walk);   // of what could not be read
  }
  const auto finish = [&]() noexcept {
    const MutexLock lock(mutex_);
    --clearing_walks_;
    changed_.notify_all();
    std::vector<Place>& erased = front.erased;
    if (erased.size() > ledger_.places_left()) erased.resize(ledger_.places_left());
    front.complete = erased.size() == walk.gone;
    front.chained = walk.chained;
    ledger_.end_clear(front.what);
    enqueue_locked(removal);
  };
  run_then(meanwhile, finish);
  return walk.gone;
}

// By what is known of each segment. The last one goes on growing.
void DiskTier::choose_segments_locked(Walk& walk) {
  walk.whole.reserve(catalog_.segments().size());
  walk.mixed.reserve(catalog_.segments().size());
  for (const auto& [id, segment] : catalog_.segments()) {
    if (segment.oldest_unix_ms > *walk.what.until_unix_ms) continue;
    const bool all = segment.newest_unix_ms <= *walk.what.until_unix_ms && id != catalog_.segments().newest();
    (all ? walk.whole : walk.mixed).push_back(id);
  }
}

void DiskTier::make_room_for_places(Walk& walk) noexcept {
  std::vector<Place>& erased = walk.erased;
  if (erased.capacity() - erased.size() >= kMaxAtOnce || erased.capacity() >= RemovalLedger::kMaxPlaces) return;
  try {
    erased.reserve(std::max<std::size_t>(2 * erased.capacity(), kMaxAtOnce));
  } catch (const std::bad_alloc&) {   // then the log says it alone
  }
}

std::uint64_t DiskTier::erase_some_locked(Walk& walk, Index::Id id, std::size_t most) noexcept {
  const std::uint64_t count = catalog_.erase(id, &walk.erased, most, [&](const EntryClass& each) {
    walk.chained = walk.chained || !walk.what.matches(each) || walk.what.until_unix_ms.has_value();
  });
  walk.gone += count;
  return count;
}

// In slices, between which others get the mutex.
void DiskTier::erase_of_class(Walk& walk) noexcept {
  const bool timed = walk.what.until_unix_ms.has_value();
  for (Index::Id at = 1;; std::this_thread::sleep_for(kPause)) {
    make_room_for_places(walk);
    const MutexLock lock(mutex_);
    const Index::Id end = std::min(catalog_.index().end_id(), at + kSlice);
    for (std::size_t left = kMaxAtOnce; at < end && left > 0;) {
      const bool goes = catalog_.index().is_entry(at) && walk.what.matches(catalog_.index().class_of(at)) &&
                        (!timed || std::binary_search(walk.whole.begin(), walk.whole.end(), catalog_[at].place.segment));
      if (goes) {
        left -= erase_some_locked(walk, at, left);
      } else {
        ++at;
      }
    }
    if (at >= catalog_.index().end_id()) return;
  }
}

// What of a segment is old enough, by its records. Where they cannot be read, the values cannot either: all of them go.
void DiskTier::erase_by_age(Walk& walk, std::uint32_t id) noexcept {
  std::shared_ptr<file::File> file;
  SegmentContents contents;
  {
    const MutexLock lock(mutex_);
    Segment* const segment = catalog_.segments().find(id);
    if (segment == nullptr || segment->live() == 0) return;
    file = segment->file;
    contents.header = segment->header;
  }
  const auto erase = [&](std::span<const Located> records) {
    make_room_for_places(walk);
    const MutexLock lock(mutex_);
    for (const Located& located : records) {
      const RecordHeader& header = located.header;
      if (header.type != RecordType::kValue || !walk.what.matches(header)) continue;
      const Place place{id, static_cast<std::uint32_t>(located.offset / kAlignment), static_cast<std::uint32_t>(header.value_bytes)};
      if (catalog_.holds(header.key, place)) erase_some_locked(walk, catalog_.find(header.key), SIZE_MAX);
    }
  };
  bool read = false;
  try {
    read = file && read_records(*file, &contents, [&](std::span<const Located> records) {
                     for (std::size_t begin = 0; begin < records.size(); begin += kRecordsAtOnce) {
                       erase(records.subspan(begin, std::min(kRecordsAtOnce, records.size() - begin)));
                       std::this_thread::sleep_for(kPause);
                     }
                     return true;
                   }) == 0;
  } catch (...) {   // no memory
  }
  if (!read && walk.whole.size() < walk.whole.capacity()) walk.whole.push_back(id);
}

std::uint64_t DiskTier::clear_all(std::list<Removal>& removal, const std::function<void()>& meanwhile) {
  Dropped dropped;   // freed without the lock
  std::uint64_t count = 0;
  {
    const MutexLock lock(mutex_);
    count = clear_all_locked(removal, dropped);
    ledger_.begin_clear_all();
  }
  const auto finish = [&]() noexcept {
    const MutexLock lock(mutex_);
    ledger_.end_clear_all();
  };
  run_then(meanwhile, finish);
  return count;
}

// The files go as a whole, so nothing else that waits has to be said any more.
std::uint64_t DiskTier::clear_all_locked(std::list<Removal>& removal, Dropped& dropped) noexcept {
  const std::uint64_t entries = catalog_.index().size();
  catalog_.erase_all(dropped.index);
  ledger_.clear_all(removal, dropped.removals);
  changed_.notify_all();
  return entries;
}

}   // namespace tensorcache::disk
