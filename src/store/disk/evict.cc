// Makes space within the budget: evicts the oldest segment, after its entries in use were
// rewritten.
#include <algorithm>
#include <utility>

#include "store/disk/segment_log.h"

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kBatchBytes = std::uint64_t{8} << 20;
constexpr std::uint64_t kUsageBytes = 2 * 34;
constexpr std::uint64_t kSlackBytes = 8192;   // names, headers and footers of the segments that receive rewritten values

}   // namespace

// Kept values of a victim are rewritten before it is deleted: half a segment is reserved for them.
bool SegmentLog::make_room(std::uint64_t bytes, std::size_t log_records, bool may_evict) {
  for (;;) {
    {
      const MutexLock lock(state_.mutex);
      // usage file, and its next version during the write
      const std::uint64_t usage = state_.sidecars.usage_bytes(), others = state_.sidecars.bytes() - usage;
      const std::uint64_t beside = others + (may_evict ? std::max(usage, kUsageBytes * state_.catalog.index().size()) : usage);
      const std::uint64_t held_free = may_evict ? state_.target_segment_bytes / 2 + kSlackBytes : 0;
      if (state_.catalog.segments().file_bytes() + bytes + summary_bytes(log_records) + held_free + beside <= state_.capacity) return true;
    }
    if (!may_evict || !evict_oldest(true)) return false;
  }
}

bool SegmentLog::evict_oldest(bool keep_used) {
  std::uint32_t victim = 0;
  const auto choose = [&] {
    const MutexLock lock(state_.mutex);
    for (const auto& [id, segment] : state_.catalog.segments()) {
      if (id != open_.segment) {
        victim = id;
        return true;
      }
    }
    return false;
  };
  if (!choose()) {
    if (open_.segment == 0) return false;
    seal_segment();   // small budgets: the open segment is the oldest
    if (!choose()) return false;
  }
  if (keep_used) {
    const std::vector<Key> keys = worth_keeping(victim);
    static_cast<void>(write_again(victim, keys));
  }
  const std::size_t before = state_.segment_count();
  remove_segment(victim);
  return state_.segment_count() < before;   // false if the disk refuses to delete
}

// RETURNS the values of a segment to rewrite: used since they were written, in use in memory, or
// with children. Most recently used first, parents before their children, and at most half a
// segment, so that each eviction frees space.
std::vector<Key> SegmentLog::worth_keeping(std::uint32_t victim) {
  struct Candidate {
    Key key;
    std::uint32_t tick, unit;
    std::uint64_t bytes;
    bool sure;
  };
  std::vector<Candidate> candidates;
  std::uint64_t room = 0, live = 0;
  {
    const MutexLock lock(state_.mutex);
    room = state_.target_segment_bytes / 2;
    if (Segment* const segment = state_.catalog.segments().find(victim); segment != nullptr) live = segment->live();
  }
  candidates.reserve(live);   // cannot grow: no entry is added to a sealed segment
  state_.walk_index([&](Index::Id id) TC_REQUIRES(state_.mutex) {
    if (candidates.size() == live) return false;
    const Index::Entry& entry = state_.catalog[id];
    if (entry.place.segment == victim) {
      candidates.push_back({entry.key, entry.tick, entry.place.unit, record_bytes(entry.place.value_bytes) + kSummaryEntryBytes,
                            entry.used != 0 || entry.first_child != Index::kNone});
    }
    return true;
  });
  if (state_.options.in_memory) {
    for (Candidate& candidate : candidates) candidate.sure = candidate.sure || state_.options.in_memory(candidate.key);
  }
  std::erase_if(candidates, [](const Candidate& candidate) { return !candidate.sure; });
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.tick != b.tick ? a.tick > b.tick : a.unit < b.unit; });
  std::vector<Key> keys;
  for (const Candidate& candidate : candidates) {
    if (candidate.bytes > room) break;
    room -= candidate.bytes;
    keys.push_back(candidate.key);
  }
  return keys;
}

// RETURNS false if some could not be rewritten.
bool SegmentLog::write_again(std::uint32_t victim, std::span<const Key> keys) {
  std::shared_ptr<file::File> file;
  Salt salt;
  {
    const MutexLock lock(state_.mutex);
    Segment* const segment = state_.catalog.segments().find(victim);
    if (segment == nullptr) return false;
    file = segment->file;
    salt = segment->header.salt;
  }
  for (std::size_t begin = 0; file && begin < keys.size();) {
    std::vector<RecordHeader> headers;
    std::vector<std::vector<std::byte>> values;
    std::uint64_t bytes = 0;
    for (; begin < keys.size() && bytes < kBatchBytes; ++begin) {
      Place place;
      {
        const MutexLock lock(state_.mutex);
        if (state_.late_locked()) return false;
        const Index::Id id = state_.catalog.find(keys[begin]);
        if (id == Index::kNone || state_.catalog[id].place.segment != victim) continue;
        place = state_.catalog[id].place;
      }
      std::vector<std::byte> record(kRecordHeaderBytes + place.value_bytes);
      const std::uint64_t offset = std::uint64_t{place.unit} * kAlignment;
      const int error = file::read_fully(*file, offset, record);
      const auto header = error == 0 ? decode_record_header(record, salt, offset) : std::nullopt;
      record.erase(record.begin(), record.begin() + kRecordHeaderBytes);
      if (!header || header->key != keys[begin] || header->payload_checksum != payload_checksum(record, salt, offset)) {
        const MutexLock lock(state_.mutex);
        ++(error != 0 ? state_.counters.read_errors : state_.counters.corrupt_records);
        continue;   // deleted with the segment
      }
      bytes += record.size();
      headers.push_back(*header);
      values.push_back(std::move(record));
    }
    const std::vector<std::span<const std::byte>> spans(values.begin(), values.end());
    const bool all = append(headers, spans, false, [&](std::size_t i, const Place& place) {
      const MutexLock lock(state_.mutex);
      const Index::Id id = state_.catalog.find(headers[i].key);
      if (id == Index::kNone || state_.catalog[id].place.segment != victim || state_.ledger.is_cleared(headers[i])) return false;
      state_.catalog.move(id, place);
      state_.catalog[id].used = 0;
      ++state_.counters.written_again;
      state_.counters.written_again_bytes += headers[i].value_bytes;
      return true;
    });
    if (!all) return false;
  }
  return file != nullptr;
}

bool SegmentLog::rewrite_segment(std::uint32_t segment) {
  std::vector<std::pair<std::uint32_t, Key>> found;
  {
    const MutexLock lock(state_.mutex);
    Segment* const known = state_.catalog.segments().find(segment);
    if (known == nullptr) return true;
    if (segment == open_.segment || (known->has_removals && segment != state_.catalog.segments().oldest())) return false;
  }
  state_.walk_index([&](Index::Id id) TC_REQUIRES(state_.mutex) {
    if (state_.catalog[id].place.segment == segment) found.emplace_back(state_.catalog[id].place.unit, state_.catalog[id].key);
    return true;
  });
  std::sort(found.begin(), found.end());   // parents first
  std::vector<Key> keys;
  for (const auto& [unit, key] : found) keys.push_back(key);
  if (!write_again(segment, keys)) return false;
  remove_segment(segment);
  return !state_.segment_exists(segment);
}

}   // namespace tensorcache::disk
