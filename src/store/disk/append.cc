// Appends records to the log, in pieces that fit into a segment.
#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <utility>

#include "store/disk/segment_log.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kMaxRecords = 262'144;   // per segment
constexpr std::uint64_t kShareOfIndex = 16;    // the open segment's records take at most this part of the index's memory
constexpr std::uint64_t kBytesOfRecord = sizeof(Located) + kSummaryEntryBytes;   // a record's size here and in the summary

}   // namespace

std::size_t SegmentLog::max_records() const {
  const MutexLock lock(state_.mutex);
  return std::clamp<std::uint64_t>(state_.index_limit / kShareOfIndex / kBytesOfRecord, kFreeRecords, kMaxRecords);
}

// Reserves memory for more records in the open segment. RETURNS false if it must be sealed first.
bool SegmentLog::reserve_records(std::size_t count) {
  const std::size_t needed = open_.records.size() + count, most = max_records();
  if (needed > most) return false;
  if (needed <= open_.records.capacity()) return true;
  std::size_t capacity = std::max(kFreeRecords, std::min(2 * needed, most));
  const std::uint64_t bytes = (capacity - kFreeRecords) * kBytesOfRecord;
  if (bytes > open_.charged && state_.options.charge && !state_.options.charge(bytes - open_.charged)) return false;
  open_.charged = std::max(bytes, open_.charged);
  open_.records.reserve(capacity);
  return true;
}

// RETURNS how many leading records fit into the open segment, and their size in *bytes.
std::size_t SegmentLog::fitting(std::span<const RecordHeader> headers, std::uint64_t* bytes) const {
  const std::uint64_t begin = open_.segment == 0 ? kSegmentHeaderBytes : open_.end;
  const std::uint64_t most = state_.segment_bytes();
  std::uint64_t end = begin;
  std::size_t count = 0;
  for (const RecordHeader& header : headers) {
    const std::uint64_t record = record_bytes(header.value_bytes);
    if (count > 0 && end + record + summary_bytes(open_.records.size() + count + 1) > most) break;
    end += record;
    ++count;
  }
  *bytes = end - begin + (open_.segment == 0 ? kSegmentHeaderBytes : 0);
  return count;
}

bool SegmentLog::append(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values, bool may_evict,
                        const Publish& publish) {
  for (std::size_t begin = 0; begin < headers.size();) {
    const auto rest = headers.subspan(begin);
    if (open_.segment != 0 && open_.end + record_bytes(rest.front().value_bytes) + summary_bytes(open_.records.size() + 1) > state_.segment_bytes()) {
      seal_segment();
    }
    std::uint64_t bytes = 0;
    const std::size_t count = fitting(rest, &bytes);
    if (state_.broken() || state_.late() || !make_room(bytes, open_.records.size() + count, may_evict)) return false;
    if (open_.segment != 0 && !reserve_records(count)) {
      seal_segment();
      continue;
    }
    int error = open_.segment == 0 ? open_segment() : 0;
    if (error == 0 && !reserve_records(count)) error = ENOMEM;
    std::vector<Place> places;
    if (error == 0) error = append_piece(rest.first(count), values.subspan(begin, count), &places);
    // Other programs fill the disk as well: make do with less than the capacity.
    if (error == ENOSPC && may_evict && evict_oldest(false)) continue;
    if (error != 0) {
      state_.fail("the log cannot be written", error);
      return false;
    }
    std::vector<Place> unlisted;
    unlisted.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (!publish(begin + i, places[i])) {
        unlisted.push_back(places[i]);
      } else if (unpublished_ > 0) {
        --unpublished_;
      }
    }
    if (!unlisted.empty()) erase_unlisted(unlisted);
    unpublished_ = 0;
    begin += count;
  }
  return true;
}

int SegmentLog::append_piece(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values, std::vector<Place>* places) {
  static constexpr std::array<std::byte, kAlignment> kPadding{};
  std::vector<RecordHeaderBytes> encoded;
  std::vector<std::span<const std::byte>> parts;
  std::vector<Located> located;
  encoded.reserve(headers.size());   // must not reallocate: parts point into it
  std::uint64_t offset = open_.end, found_again = 0;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    RecordHeader header = headers[i];
    header.payload_checksum = payload_checksum(values[i], open_.header.salt, offset);
    encoded.push_back(encode_record_header(header, open_.header.salt, offset));
    parts.emplace_back(encoded.back());
    parts.push_back(values[i]);
    parts.push_back(std::span(kPadding).first(record_bytes(values[i].size()) - kRecordHeaderBytes - values[i].size()));
    located.push_back({offset, header});
    places->push_back({open_.segment, static_cast<std::uint32_t>(offset / kAlignment), static_cast<std::uint32_t>(values[i].size())});
    offset += record_bytes(values[i].size());
    found_again += header.type == RecordType::kValue ? 1 : 0;
  }
  unpublished_ = found_again;   // until publish() gives them entries
  int error = file::write_fully(*open_.file, open_.end, parts);
  if (error == 0 && state_.options.sync == DiskSync::kRecord) error = open_.file->sync();
  if (error != 0) {
    abandon_segment();
    return error;
  }
  open_.records.insert(open_.records.end(), located.begin(), located.end());
  const MutexLock lock(state_.mutex);
  state_.counters.written_bytes += offset - open_.end;
  Segment& segment = state_.catalog.segments().at(open_.segment);
  state_.catalog.segments().set_file_bytes(open_.segment, offset);
  for (const RecordHeader& header : headers) {
    if (header.type == RecordType::kValue) segment.saw(header.created_unix_ms);
  }
  open_.end = offset;
  state_.health.wrote();
  return 0;
}

// Erases records of the open segment that got no entry, so that recovery does not find them.
void SegmentLog::erase_unlisted(std::span<const Place> places) {
  for (const Place& place : places) {
    const auto record = std::find_if(open_.records.rbegin(), open_.records.rend(),
                                     [&](const Located& located) { return located.offset == std::uint64_t{place.unit} * kAlignment; });
    if (record != open_.records.rend()) {
      RecordHeader erased;
      erased.type = RecordType::kErased;
      erased.value_bytes = place.value_bytes;
      record->header = erased;
    }
  }
  if (!state_.broken() && erase_records(places)) return;
  const MutexLock lock(state_.mutex);
  for (const Place& place : places) state_.catalog.segments().add_unlisted(place.segment, 1);
}

// Removals are always synced, whatever DiskSync says: the caller was promised that they hold.
bool SegmentLog::log_removals(std::span<const RecordHeader> removals) {
  const std::vector<std::span<const std::byte>> nothing(removals.size());
  const bool logged = append(removals, nothing, true,
                             [&](std::size_t, const Place& place) {
                               const MutexLock lock(state_.mutex);
                               state_.catalog.segments().at(place.segment).has_removals = true;
                               return true;
                             }) &&
                      (state_.options.sync == DiskSync::kRecord || sync_log());
  if (!logged && !state_.broken() && !state_.late()) state_.fail("removals cannot be written", ENOSPC);   // retried after a pause
  return logged;
}

// Marks the headers of removed values on disk as erased. RETURNS false if one may still be
// readable.
bool SegmentLog::erase_records(std::span<const Place> places) {
  if (!owns_directory()) return false;   // reopening by path could open another cache's file
  bool all = true;
  std::map<std::uint32_t, std::shared_ptr<file::File>> touched;
  for (const Place& place : places) {
    std::shared_ptr<file::File> file;
    Salt salt;
    {
      const MutexLock lock(state_.mutex);
      if (state_.late_locked()) return false;
      Segment* const segment = state_.catalog.segments().find(place.segment);
      if (segment == nullptr) continue;   // the whole segment is gone
      if (!segment->file) {               // the file should be deleted, but the disk refused
        all = false;
        continue;
      }
      file = segment->file;
      salt = segment->header.salt;
    }
    const std::uint64_t offset = std::uint64_t{place.unit} * kAlignment;
    RecordHeader erased;
    erased.type = RecordType::kErased;
    erased.value_bytes = place.value_bytes;
    all &= file::write_fully(*file, offset, encode_record_header(erased, salt, offset)) == 0;
    touched[place.segment] = std::move(file);
  }
  for (const auto& [segment, file] : touched) all &= file->sync() == 0;
  return all;
}

void SegmentLog::note_overwritten(std::uint32_t segment, const Located& located) {
  if (segment != open_.segment) return;
  const auto record = std::lower_bound(open_.records.begin(), open_.records.end(), located.offset,
                                       [](const Located& each, std::uint64_t offset) { return each.offset < offset; });
  if (record != open_.records.end() && record->offset == located.offset) record->header = located.header;
}

}   // namespace tensorcache::disk
