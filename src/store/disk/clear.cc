// Deletes the entries of an owner or source, or older than an age: from the index at once, in
// slices, then queues one removal.
#include <algorithm>
#include <functional>
#include <iterator>
#include <new>
#include <thread>
#include <utility>

#include "store/disk/disk_tier.h"
#include "store/disk/segment_reader.h"

namespace tensorcache::disk {
namespace {

constexpr Index::Id kSlice = 4096;            // entries visited per hold of the mutex
constexpr std::size_t kMaxAtOnce = 1024;      // entries erased per hold of the mutex
constexpr std::size_t kRecordsAtOnce = 256;   // records looked up per hold of the mutex
constexpr std::size_t kMaxTimed = 32;         // pending selections by age: one free bit of the entry class each
constexpr std::uint64_t kMaxWipes = 4096;     // pending selections of any kind
// Pause between slices: a thread that reacquires the mutex at once starves the waiting ones.
constexpr std::chrono::microseconds kPause{50};

// Calls `finish` even if `meanwhile` throws.
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
  std::vector<Place>& erased;           // places of erased records, as many as memory allows
  std::vector<std::uint32_t> whole{};   // by age: segments without younger values; sorted
  std::vector<std::uint32_t> mixed{};   // by age: segments that may hold older and younger values
  std::uint64_t gone = 0;
  bool chained = false;   // descendants were erased that do not match the selection themselves
};

std::uint64_t DiskTier::clear(const Selection& what, const std::function<void()>& meanwhile) {
  Selected selected{what.owner, what.source, {}, {}};
  if (what.older_than) selected.until_unix_ms = state_.options.unix_ms() - what.older_than->count();
  return clear(std::move(selected), meanwhile);
}

std::uint64_t DiskTier::clear(Selected what, const std::function<void()>& meanwhile) {
  std::list<Removal> removal(1);
  std::list<RemovalLedger::Clearing> clearing(1);
  clearing.front().what = what;
  Removal& front = removal.front();
  front.type = RecordType::kClearOwner;
  front.what = std::move(what);
  Walk walk{front.what, front.erased};
  const MutexLock one_at_a_time(clearing_mutex_);
  bool everything = front.what.is_everything();
  {
    const MutexLock lock(state_.mutex);
    const bool timed = front.what.until_unix_ms.has_value();
    const bool too_many = state_.ledger.is_full() || state_.counters.pending_wipes >= kMaxWipes ||
                          (timed && state_.ledger.selections() + state_.timed_wipes >= kMaxTimed);
    if (too_many && !everything) ++state_.counters.collapsed_logs;
    everything = everything || too_many;
    if (!everything) {
      if (timed) choose_segments_locked(walk);
      state_.ledger.begin_clear(front.what, clearing);
      ++state_.clearing_walks;
    }
  }
  if (everything) return clear_all(removal, meanwhile);
  erase_of_class(walk);
  if (!walk.mixed.empty()) {
    for (const std::uint32_t segment : walk.mixed) erase_by_age(walk, segment);
    std::sort(walk.whole.begin(), walk.whole.end());
    erase_of_class(walk);   // now includes segments that could not be read
  }
  const auto finish = [&]() noexcept {
    const MutexLock lock(state_.mutex);
    --state_.clearing_walks;
    state_.changed.notify_all();
    std::vector<Place>& erased = front.erased;
    if (erased.size() > state_.ledger.places_left()) erased.resize(state_.ledger.places_left());
    front.complete = erased.size() == walk.gone;
    front.chained = walk.chained;
    state_.ledger.end_clear(front.what);
    state_.enqueue_locked(removal);
  };
  run_then(meanwhile, finish);
  return walk.gone;
}

// Classifies segments by their oldest and newest value. The newest segment is still growing, so it
// is never `whole`.
void DiskTier::choose_segments_locked(Walk& walk) {
  walk.whole.reserve(state_.catalog.segments().size());
  walk.mixed.reserve(state_.catalog.segments().size());
  for (const auto& [id, segment] : state_.catalog.segments()) {
    if (segment.oldest_unix_ms > *walk.what.until_unix_ms) continue;
    const bool all = segment.newest_unix_ms <= *walk.what.until_unix_ms && id != state_.catalog.segments().newest();
    (all ? walk.whole : walk.mixed).push_back(id);
  }
}

void DiskTier::make_room_for_places(Walk& walk) noexcept {
  std::vector<Place>& erased = walk.erased;
  if (erased.capacity() - erased.size() >= kMaxAtOnce || erased.capacity() >= RemovalLedger::kMaxPlaces) return;
  try {
    erased.reserve(std::max<std::size_t>(2 * erased.capacity(), kMaxAtOnce));
  } catch (const std::bad_alloc&) {   // then only the log records the removal
  }
}

std::uint64_t DiskTier::erase_some_locked(Walk& walk, Index::Id id, std::size_t most) noexcept {
  const std::uint64_t count = state_.catalog.erase(id, &walk.erased, most, [&](const EntryClass& each) {
    walk.chained = walk.chained || !walk.what.matches(each) || walk.what.until_unix_ms.has_value();
  });
  walk.gone += count;
  return count;
}

// Erases matching entries in slices; other threads get the mutex in between.
void DiskTier::erase_of_class(Walk& walk) noexcept {
  const bool timed = walk.what.until_unix_ms.has_value();
  for (Index::Id at = 1;; std::this_thread::sleep_for(kPause)) {
    make_room_for_places(walk);
    const MutexLock lock(state_.mutex);
    const Index::Id end = std::min(state_.catalog.index().end_id(), at + kSlice);
    for (std::size_t left = kMaxAtOnce; at < end && left > 0;) {
      const bool goes = state_.catalog.index().is_entry(at) && walk.what.matches(state_.catalog.index().class_of(at)) &&
                        (!timed || std::binary_search(walk.whole.begin(), walk.whole.end(), state_.catalog[at].place.segment));
      if (goes) {
        left -= erase_some_locked(walk, at, left);
      } else {
        ++at;
      }
    }
    if (at >= state_.catalog.index().end_id()) return;
  }
}

// Erases the entries of one segment that are old enough by their records. If the records cannot be
// read, the values cannot either: erases all of them.
void DiskTier::erase_by_age(Walk& walk, std::uint32_t id) noexcept {
  std::shared_ptr<file::File> file;
  SegmentContents contents;
  {
    const MutexLock lock(state_.mutex);
    Segment* const segment = state_.catalog.segments().find(id);
    if (segment == nullptr || segment->live() == 0) return;
    file = segment->file;
    contents.header = segment->header;
  }
  const auto erase = [&](std::span<const Located> records) {
    make_room_for_places(walk);
    const MutexLock lock(state_.mutex);
    for (const Located& located : records) {
      const RecordHeader& header = located.header;
      if (header.type != RecordType::kValue || !walk.what.matches(header)) continue;
      const Place place{id, static_cast<std::uint32_t>(located.offset / kAlignment), static_cast<std::uint32_t>(header.value_bytes)};
      if (state_.catalog.holds(header.key, place)) erase_some_locked(walk, state_.catalog.find(header.key), SIZE_MAX);
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
  } catch (...) {   // out of memory
  }
  if (!read && walk.whole.size() < walk.whole.capacity()) walk.whole.push_back(id);
}

std::uint64_t DiskTier::clear_all(std::list<Removal>& removal, const std::function<void()>& meanwhile) {
  Dropped dropped;   // freed after the mutex is released
  std::uint64_t count = 0;
  {
    const MutexLock lock(state_.mutex);
    count = clear_all_locked(removal, dropped);
    state_.ledger.begin_clear_all();
  }
  const auto finish = [&]() noexcept {
    const MutexLock lock(state_.mutex);
    state_.ledger.end_clear_all();
  };
  run_then(meanwhile, finish);
  return count;
}

// All files are deleted, so other pending removals need not be logged.
std::uint64_t DiskTier::clear_all_locked(std::list<Removal>& removal, Dropped& dropped) noexcept {
  const std::uint64_t entries = state_.catalog.index().size();
  state_.catalog.erase_all(dropped.index);
  state_.ledger.clear_all(removal, dropped.removals);
  state_.changed.notify_all();
  return entries;
}

}   // namespace tensorcache::disk
