// Reads the records of a segment file: from its summary, or by walking over the records if the
// summary is missing or damaged.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/file/file.h"
#include "store/disk/format.h"

namespace tensorcache::disk {

struct SegmentContents {
  SegmentVerdict verdict = SegmentVerdict::kDamaged;   // verdict on the segment's header; other fields are set only if it is kGood
  SegmentHeader header;
  bool from_summary = false;      // the segment is complete and its summary valid
  std::uint64_t end = 0;          // end of the last record
  std::uint64_t lost_bytes = 0;   // skipped bytes: of damaged records, or cut off by a crash
};

// `id`: from the file's name. RETURNS an error of the file; damage is reported in `contents`.
[[nodiscard]] int read_segment_header(file::File& file, std::uint64_t id, SegmentContents* contents);
// Called with records in the order of writing, in pieces; their values are not verified. Returns
// false to stop.
using VisitRecords = std::function<bool(std::span<const Located> records)>;
// Reads the records of a good segment, after read_segment_header(). Uses 256 KiB, and as much again
// for records, whatever the segment's size. COST: reads the summary, twice if it is larger than
// that; without a summary, one read per record.
[[nodiscard]] int read_records(file::File& file, SegmentContents* contents, const VisitRecords& visit);

}   // namespace tensorcache::disk
