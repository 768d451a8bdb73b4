// Recovery: rebuilds the index from the segments' summaries, at start or when the disk works again.
// One object per attempt.
//
// THREADS: the writing thread only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "store/disk/scrubber.h"
#include "store/disk/segment_reader.h"
#include "store/disk/side_files.h"

namespace tensorcache::disk {

class Recovery {
 public:
  Recovery(DiskState& state, Directory& directory, SegmentLog& log, Scrubber& scrubber, SideFiles& side_files)
      : state_(state), directory_(directory), log_(log), scrubber_(scrubber), side_files_(side_files) {}
  ~Recovery() { state_.give_back(orphans_charged_); }
  Recovery(const Recovery&) = delete;
  Recovery& operator=(const Recovery&) = delete;

  // RETURNS: false if nothing was indexed and recovery must be retried.
  [[nodiscard]] bool recover();

 private:
  struct Orphans {                                        // values whose parent was not read yet
    std::unordered_map<Key, std::vector<Key>> children;   // by that parent
    std::size_t count = 0, room = 0;
  };
  void forget_directory() noexcept;
  [[nodiscard]] int recover_segment(std::uint32_t id, Orphans* orphans, SegmentContents* contents, std::vector<Located>* records);
  void recover_records(std::uint32_t segment, std::span<const Located> records, Orphans* orphans);
  void recover_value_locked(std::uint32_t segment, const Located& located, Orphans* orphans) TC_REQUIRES(state_.mutex);
  void recover_removal(std::uint32_t segment, const RecordHeader& header, Orphans* orphans);
  void reserve_orphans(Orphans* orphans, std::size_t more);
  [[nodiscard]] static std::vector<Key> take_orphans(Orphans* orphans, const Key& parent);
  void forget_orphans(const Orphans& orphans);
  void reserve_recovered(std::span<const EntryClass> classes);
  [[nodiscard]] Index::Id orphan_locked(const Key& key) const TC_REQUIRES(state_.mutex);

  // recover_wipes.cc: deletions whose values are still in the segments
  [[nodiscard]] int recover_wipes(const std::vector<std::string>& files, std::vector<std::uint64_t>* ids);
  void apply_wipes_until(const LogPosition& position, Orphans* orphans);
  void apply_wipe(std::size_t i, Orphans* orphans);
  [[nodiscard]] EntryClass recovered_class(std::uint32_t segment, const Located& located) const;
  [[nodiscard]] int drop_segments(std::vector<std::uint64_t>* ids, const char* mark);

  DiskState& state_;
  Directory& directory_;
  SegmentLog& log_;
  Scrubber& scrubber_;
  SideFiles& side_files_;
  std::size_t applied_ = 0;   // number of wipes whose position in the log was passed
  std::uint64_t orphans_charged_ = 0;
};

}   // namespace tensorcache::disk
