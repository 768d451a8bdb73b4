// What a segment file holds: by its summary, or, where that is missing or damaged, by walking over
// its records.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/file/file.h"
#include "store/disk/format.h"

namespace tensorcache::disk {

struct SegmentContents {
  SegmentVerdict verdict = SegmentVerdict::kDamaged;   // of the segment's header; nothing else is set unless it is good
  SegmentHeader header;
  bool from_summary = false;      // the segment is complete
  std::uint64_t end = 0;          // behind the last record
  std::uint64_t lost_bytes = 0;   // walked over: of damaged records, or torn off by a crash
};

// `id`: what the file's name says. An error is the file's; damage is in the contents.
[[nodiscard]] int read_segment_header(file::File& file, std::uint64_t id, SegmentContents* contents);
// Sees records in the order in which they were written, some at a time; their values are not
// checked. False: no more of them.
using VisitRecords = std::function<bool(std::span<const Located> records)>;
// After read_segment_header(), of a good segment. Holds 256 KiB and as much again in records,
// however large the segment is. Cost: the summary is read, twice if it is larger than that; without
// one, a read for each record.
[[nodiscard]] int read_records(file::File& file, SegmentContents* contents, const VisitRecords& visit);

}   // namespace tensorcache::disk
