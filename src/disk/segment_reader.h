// What a segment file holds: by its summary, or, where that is missing or damaged, by walking over its records.
#pragma once

#include <cstdint>
#include <vector>

#include "disk/file.h"
#include "disk/format.h"

namespace tensorcache::disk {

struct SegmentContents {
  SegmentVerdict verdict = SegmentVerdict::kDamaged;   // of the segment's header; nothing else is set unless it is good
  SegmentHeader header;
  std::vector<Located> records;   // in the order they were written; their values are not checked yet
  bool from_summary = false;      // the segment is complete
  std::uint64_t end = 0;          // behind the last record
  std::uint64_t lost_bytes = 0;   // walked over: of damaged records, or torn off by a crash
};

// `id`: what the file's name says. An error is the file's; damage is in the contents. Cost: two reads with a summary, else one for each
// record.
[[nodiscard]] int read_segment(File& file, std::uint64_t id, SegmentContents* contents);

}   // namespace tensorcache::disk
