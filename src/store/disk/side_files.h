// Small files beside the segments: accounts their sizes and saves the tier's own.
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
  // These write nothing if nothing changed. Write errors are ignored.
  void save_names();
  void save_usage();
  void read_saved_usage();

 private:
  DiskState& state_;
  Directory& directory_;
  SegmentLog& log_;
  std::uint64_t hits_saved_ = 0;   // value at the last save_usage()
};

}   // namespace tensorcache::disk
