// The small files beside the segments: what they take, and when the tier's own
// are written.
//
// THREADS: the writing thread only.
#pragma once

#include <cstdint>

#include "store/disk/segment_log.h"

namespace tensorcache::disk {

class SideFiles {
 public:
  SideFiles(DiskState& state, Directory& directory, SegmentLog& log) : state_(state), directory_(directory), log_(log) {}
  SideFiles(const SideFiles&) = delete;
  SideFiles& operator=(const SideFiles&) = delete;

  void measure_sidecars();
  // These write nothing if nothing changed. What cannot be written is not worth
  // an error.
  void save_names();
  void save_usage();
  void read_saved_usage();

 private:
  DiskState& state_;
  Directory& directory_;
  SegmentLog& log_;
  std::uint64_t hits_saved_ = 0;   // as of the last save_usage()
};

}   // namespace tensorcache::disk
