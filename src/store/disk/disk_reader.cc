#include "store/disk/disk_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

namespace tensorcache::disk {
namespace {

constexpr std::size_t kMaxRecords = 64;   // per read
constexpr std::uint64_t kMaxBytes = std::uint64_t{8} << 20;
constexpr std::uint64_t kSpeedFromBytes = 16 << 10;   // shorter reads measure latency, not throughput
constexpr std::int64_t kClockTolerance_ms = 60'000;
constexpr double kNewShare = 0.2;   // weight of the newest measurement in the moving average
constexpr int kMaxMoves = 100;      // moves of one record while it is read; each takes an eviction, so more indicate a defect

bool expired(const RecordHeader& header, std::int64_t now_ms) {
  if (header.expires_unix_ms == 0) return false;
  // If the clock was set back, a record's age is unknown.
  return now_ms >= header.expires_unix_ms || header.created_unix_ms > now_ms + kClockTolerance_ms;
}

void mix(double* mean, double value) { *mean = *mean == 0 ? value : *mean + kNewShare * (value - *mean); }

}   // namespace

// RETURNS the longest leading run of `keys` whose records are adjacent in one segment.
DiskReader::ReadExtent DiskReader::locate(std::span<const Key> keys, std::size_t most) const {
  ReadExtent run;
  const MutexLock lock(state_.mutex);
  if (!state_.ready) return run;
  std::uint64_t end = 0;
  for (const Key& key : keys.first(std::min(keys.size(), most))) {
    const Index::Id id = state_.catalog.find(key);
    if (id == Index::kNone) break;
    const Index::Entry& entry = state_.catalog[id];
    const std::uint64_t offset = std::uint64_t{entry.place.unit} * kAlignment;
    if (run.records.empty()) {
      const Segment* const segment = state_.catalog.segments().find(entry.place.segment);
      if (segment == nullptr || !segment->file) break;
      run.segment = entry.place.segment;
      run.file = segment->file;
      run.salt = segment->header.salt;
      run.offset = offset;
    } else if (entry.place.segment != run.segment || offset != end || end - run.offset > kMaxBytes) {
      break;
    }
    end = offset + record_bytes(entry.place.value_bytes);
    const EntryClass& entry_class = state_.catalog.index().class_of(id);
    Found found{entry_class.kind, entry_class.owner, entry_class.source, entry.place.value_bytes, std::nullopt};
    if (entry.parent != Index::kNone) found.parent = state_.catalog[entry.parent].key;
    run.records.push_back({key, offset, found});
  }
  return run;
}

// Announces several records of one segment at once, so that the kernel reads the later ones while
// the caller waits for the first.
void DiskReader::read_ahead(std::span<const Key> keys) const {
  struct Stretch {
    std::shared_ptr<file::File> file;
    std::uint32_t segment;
    std::uint64_t begin, end;
  };
  std::vector<Stretch> stretches;
  {
    const MutexLock lock(state_.mutex);
    for (const Key& key : keys) {
      const Index::Id id = state_.catalog.find(key);
      if (id == Index::kNone) break;
      const Place& place = state_.catalog[id].place;
      const std::uint64_t begin = std::uint64_t{place.unit} * kAlignment, end = begin + record_bytes(place.value_bytes);
      if (!stretches.empty() && stretches.back().segment == place.segment && stretches.back().end == begin) {
        stretches.back().end = end;
      } else {
        const Segment* const segment = state_.catalog.segments().find(place.segment);
        if (segment == nullptr || !segment->file) break;
        stretches.push_back({segment->file, place.segment, begin, end});
      }
    }
  }
  for (const Stretch& stretch : stretches) stretch.file->will_need(stretch.begin, stretch.end - stretch.begin);
}

DiskReader::ReadResult DiskReader::read(std::span<const Key> keys, const Reserve& reserve, const Accept& accept) {
  if (keys.size() > 1) read_ahead(keys);
  std::uint32_t tick = 0;   // one for the whole chain, so that touching it walks up only once
  {
    const MutexLock lock(state_.mutex);
    tick = ++state_.tick;
  }
  std::size_t done = 0, most = kMaxRecords;
  for (int moves = 0; done < keys.size();) {
    ReadExtent run = locate(keys.subspan(done), most);
    run.tick = tick;
    if (run.records.empty()) return {done, ReadEnd::kNotStored};
    const std::size_t accepted = read_run(run, done, reserve, accept);
    done += accepted;
    if (run.end) return {done, *run.end};
    moves = run.moved && accepted == 0 ? moves + 1 : 0;
    if (moves > kMaxMoves) return {done, ReadEnd::kFailed};
    // If several records were read at once, the failing one is unknown: read them one by one.
    most = run.unreadable ? 1 : kMaxRecords;
  }
  return {done, ReadEnd::kAll};
}

std::size_t DiskReader::read_run(ReadExtent& run, std::size_t first, const Reserve& reserve, const Accept& accept) {
  std::vector<RecordHeaderBytes> headers(run.records.size());
  std::array<std::byte, kAlignment> padding{};
  std::vector<std::span<std::byte>> parts, values;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < run.records.size(); ++i) {
    const Found& found = run.records[i].found;
    const std::span<std::byte> value = reserve(first + i, found);
    if (value.size() != found.value_bytes) {
      run.end = ReadEnd::kStopped;
      run.records.resize(i);
      break;
    }
    parts.push_back(headers[i]);
    parts.push_back(value);
    parts.push_back(std::span(padding).first(record_bytes(value.size()) - kRecordHeaderBytes - value.size()));
    values.push_back(value);
    bytes += record_bytes(value.size());
  }
  if (run.records.empty()) return 0;
  const auto begin = std::chrono::steady_clock::now();
  const int error = file::read_fully(*run.file, run.offset, parts);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (error != 0) {
    read_failed(run, error);
    return 0;
  }
  {
    const MutexLock lock(state_.mutex);
    state_.counters.read_bytes += bytes;
    if (bytes >= kSpeedFromBytes) mix(&seconds_per_byte_, took.count() / static_cast<double>(bytes));
  }
  for (std::size_t i = 0; i < run.records.size(); ++i) {
    if (!check_and_count(run, run.records[i], headers[i], values[i], first + i, accept)) return i;
  }
  return run.records.size();
}

// RETURNS false, with the reason in `run`, if this record was not accepted.
bool DiskReader::check_and_count(ReadExtent& run, const ReadExtent::Record& record, const RecordHeaderBytes& bytes, std::span<const std::byte> value,
                                 std::size_t i, const Accept& accept) {
  const Place place{run.segment, static_cast<std::uint32_t>(record.offset / kAlignment), static_cast<std::uint32_t>(value.size())};
  const auto header = decode_record_header(bytes, run.salt, record.offset);
  const bool good = header && header->type == RecordType::kValue && header->key == record.key && header->value_bytes == value.size() &&
                    header->payload_checksum == payload_checksum(value, run.salt, record.offset);
  const bool old = good && expired(*header, state_.options.unix_ms());
  const bool erased = header && header->type == RecordType::kErased;   // a power loss may restore the segment without the removal
  if (!good || old) {
    const MutexLock lock(state_.mutex);
    if (!state_.catalog.holds(record.key, place)) {   // removed or replaced during the read
      run.moved = true;
      run.end.reset();
      return false;
    }
    if (!erased) ++(old ? state_.counters.expirations : state_.counters.corrupt_records);
    state_.forget_at_locked(record.key, place);
    run.end = old || erased ? ReadEnd::kNotStored : ReadEnd::kFailed;
    return false;
  }
  const Verdict verdict = accept(i, {header->key, header->created_unix_ms, header->expires_unix_ms, {place.segment, place.unit, place.value_bytes}});
  if (verdict != Verdict::kTaken) {
    run.moved = verdict == Verdict::kMoved;
    run.end = run.moved ? std::nullopt : std::optional(ReadEnd::kStopped);
    return false;
  }
  const MutexLock lock(state_.mutex);
  ++state_.counters.hits;
  if (const Index::Id id = state_.catalog.find(record.key)) {
    Index::Entry& entry = state_.catalog[id];
    entry.used = 1;
    if (entry.hits < Index::kMaxHits) entry.hits = static_cast<std::uint16_t>(entry.hits + 1) & Index::kMaxHits;
    state_.catalog.touch(id, run.tick);
  }
  return true;
}

// Handles a read error. A record that cannot be read is lost; if several were read at once, each is
// retried alone.
void DiskReader::read_failed(ReadExtent& run, int error) {
  run.end.reset();
  const MutexLock lock(state_.mutex);
  if (run.records.size() > 1) {
    run.unreadable = true;
    return;
  }
  const ReadExtent::Record& record = run.records.front();
  const Place place{run.segment, static_cast<std::uint32_t>(record.offset / kAlignment), static_cast<std::uint32_t>(record.found.value_bytes)};
  run.moved = !state_.catalog.holds(record.key, place);
  if (run.moved) return;
  run.end = ReadEnd::kFailed;
  if (error == EMFILE || error == ENFILE) return;   // temporary: it may be opened later
  ++(error == file::kEndOfFile ? state_.counters.corrupt_records : state_.counters.read_errors);
  state_.forget_at_locked(record.key, place, false);
}

bool DiskReader::holds(const Key& key, const tier::Copy& copy) const { return holds(key, Place{copy.place[0], copy.place[1], copy.place[2]}); }

bool DiskReader::holds(const Key& key, const Place& place) const {
  const MutexLock lock(state_.mutex);
  return state_.catalog.holds(key, place);
}

std::vector<Key> DiskReader::chain_of(const Key& key) const {
  std::vector<Key> chain;
  const MutexLock lock(state_.mutex);
  if (!state_.ready) return chain;
  for (Index::Id id = state_.catalog.find(key); id != Index::kNone; id = state_.catalog[id].parent) chain.push_back(state_.catalog[id].key);
  std::reverse(chain.begin(), chain.end());
  return chain;
}

std::optional<std::size_t> DiskReader::read_head(const Key& key, std::span<std::byte> head) const {
  for (int moves = 0; moves <= kMaxMoves; ++moves) {
    const ReadExtent run = locate(std::span(&key, 1), 1);
    if (run.records.empty()) return std::nullopt;
    const ReadExtent::Record& record = run.records.front();
    RecordHeaderBytes bytes;
    const std::span<std::byte> value = head.first(std::min(head.size(), record.found.value_bytes));
    const std::array<std::span<std::byte>, 2> parts{std::span<std::byte>(bytes), value};
    const int error = file::read_fully(*run.file, run.offset, parts);
    const auto header = error == 0 ? decode_record_header(bytes, run.salt, record.offset) : std::nullopt;
    const Place place{run.segment, static_cast<std::uint32_t>(record.offset / kAlignment), static_cast<std::uint32_t>(record.found.value_bytes)};
    if (!holds(key, place)) continue;
    if (!header || header->type != RecordType::kValue || header->key != key || expired(*header, state_.options.unix_ms())) return std::nullopt;
    return value.size();
  }
  return std::nullopt;
}

std::optional<double> DiskReader::read_seconds(std::uint64_t bytes) const {
  const MutexLock lock(state_.mutex);
  if (seconds_per_byte_ == 0) return std::nullopt;
  return seconds_per_byte_ * static_cast<double>(bytes);
}

}   // namespace tensorcache::disk
