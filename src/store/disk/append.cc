// The end of the log: records in pieces that fit a segment.
#include <algorithm>
#include <array>
#include <cerrno>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kMaxRecords = 262'144;   // of a segment
constexpr std::uint64_t kShareOfIndex = 16;    // the records of the open segment take that part of the index's memory at most
constexpr std::uint64_t kBytesOfRecord = sizeof(Located) + kSummaryEntryBytes;   // and of its summary, once

}   // namespace

std::size_t DiskTier::most_records() const {
  const MutexLock lock(mutex_);
  return std::clamp<std::uint64_t>(index_limit_ / kShareOfIndex / kBytesOfRecord, kFreeRecords, kMaxRecords);
}

// Room for so many in the open segment. False: it has to be sealed first.
bool DiskTier::reserve_records(std::size_t count) {
  const std::size_t needed = log_.records.size() + count, most = most_records();
  if (needed > most) return false;
  if (needed <= log_.records.capacity()) return true;
  std::size_t capacity = std::max(kFreeRecords, std::min(2 * needed, most));
  const std::uint64_t bytes = (capacity - kFreeRecords) * kBytesOfRecord;
  if (bytes > log_.charged && options_.charge && !options_.charge(bytes - log_.charged)) return false;
  log_.charged = std::max(bytes, log_.charged);
  log_.records.reserve(capacity);
  return true;
}

// How many records the open segment takes, and what they take of it.
std::size_t DiskTier::fitting(std::span<const RecordHeader> headers, std::uint64_t* bytes) const {
  const std::uint64_t begin = log_.segment == 0 ? kSegmentHeaderBytes : log_.end;
  const std::uint64_t most = segment_bytes();
  std::uint64_t end = begin;
  std::size_t count = 0;
  for (const RecordHeader& header : headers) {
    const std::uint64_t record = record_bytes(header.value_bytes);
    if (count > 0 && end + record + summary_bytes(log_.records.size() + count + 1) > most) break;
    end += record;
    ++count;
  }
  *bytes = end - begin + (log_.segment == 0 ? kSegmentHeaderBytes : 0);
  return count;
}

bool DiskTier::append(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values, bool may_evict,
                      const Publish& publish) {
  for (std::size_t begin = 0; begin < headers.size();) {
    const auto rest = headers.subspan(begin);
    if (log_.segment != 0 && log_.end + record_bytes(rest.front().value_bytes) + summary_bytes(log_.records.size() + 1) > segment_bytes()) {
      seal_segment();
    }
    std::uint64_t bytes = 0;
    const std::size_t count = fitting(rest, &bytes);
    if (broken() || late() || !make_room(bytes, log_.records.size() + count, may_evict)) return false;
    if (log_.segment != 0 && !reserve_records(count)) {
      seal_segment();
      continue;
    }
    int error = log_.segment == 0 ? open_segment() : 0;
    if (error == 0 && !reserve_records(count)) error = ENOMEM;
    std::vector<Place> places;
    if (error == 0) error = append_piece(rest.first(count), values.subspan(begin, count), &places);
    // Others fill the disk too: then our share of it is what we have, and less.
    if (error == ENOSPC && may_evict && evict_oldest(false)) continue;
    if (error != 0) {
      fail("the log cannot be written", error);
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

int DiskTier::append_piece(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values, std::vector<Place>* places) {
  static constexpr std::array<std::byte, kAlignment> kPadding{};
  std::vector<RecordHeaderBytes> encoded;
  std::vector<std::span<const std::byte>> parts;
  std::vector<Located> located;
  encoded.reserve(headers.size());   // parts point into it
  std::uint64_t offset = log_.end, found_again = 0;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    RecordHeader header = headers[i];
    header.payload_checksum = payload_checksum(values[i], log_.header.salt, offset);
    encoded.push_back(encode_record_header(header, log_.header.salt, offset));
    parts.emplace_back(encoded.back());
    parts.push_back(values[i]);
    parts.push_back(std::span(kPadding).first(record_bytes(values[i].size()) - kRecordHeaderBytes - values[i].size()));
    located.push_back({offset, header});
    places->push_back({log_.segment, static_cast<std::uint32_t>(offset / kAlignment), static_cast<std::uint32_t>(values[i].size())});
    offset += record_bytes(values[i].size());
    found_again += header.type == RecordType::kValue ? 1 : 0;
  }
  unpublished_ = found_again;   // until that is known to be otherwise
  int error = file::write_fully(*log_.file, log_.end, parts);
  if (error == 0 && options_.sync == DiskSync::kRecord) error = log_.file->sync();
  if (error != 0) {
    abandon_segment();
    return error;
  }
  log_.records.insert(log_.records.end(), located.begin(), located.end());
  const MutexLock lock(mutex_);
  counters_.written_bytes += offset - log_.end;
  Segment& segment = catalog_.segments().at(log_.segment);
  catalog_.segments().set_file_bytes(log_.segment, offset);
  for (const RecordHeader& header : headers) {
    if (header.type == RecordType::kValue) segment.saw(header.created_unix_ms);
  }
  log_.end = offset;
  health_.wrote();
  return 0;
}

// Records of the open segment that got no entry: recovery must not find them.
void DiskTier::erase_unlisted(std::span<const Place> places) {
  for (const Place& place : places) {
    const auto record = std::find_if(log_.records.rbegin(), log_.records.rend(),
                                     [&](const Located& located) { return located.offset == std::uint64_t{place.unit} * kAlignment; });
    if (record != log_.records.rend()) {
      RecordHeader erased;
      erased.type = RecordType::kErased;
      erased.value_bytes = place.value_bytes;
      record->header = erased;
    }
  }
  if (!broken() && erase_records(places)) return;
  const MutexLock lock(mutex_);
  for (const Place& place : places) catalog_.segments().add_unlisted(place.segment, 1);
}

}   // namespace tensorcache::disk
