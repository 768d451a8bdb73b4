// Table of the directory's segment files: bytes, live entries, and records without an entry.
//
// THREADS: none of its own; the disk tier holds its mutex around every call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "base/file/file.h"
#include "store/disk/format.h"

namespace tensorcache::disk {

struct Segment {
  bool has_removals = false;          // they apply to older segments
  std::shared_ptr<file::File> file;   // null: of another version, or unreadable; only its size counts
  SegmentHeader header;
  std::int64_t oldest_unix_ms = INT64_MAX, newest_unix_ms = INT64_MIN;   // storage times of its values
  void saw(std::int64_t created_unix_ms) {
    oldest_unix_ms = std::min(oldest_unix_ms, created_unix_ms);
    newest_unix_ms = std::max(newest_unix_ms, created_unix_ms);
  }

  [[nodiscard]] std::uint64_t file_bytes() const { return file_bytes_; }
  [[nodiscard]] std::uint64_t live() const { return live_; }           // number of index entries that point here
  [[nodiscard]] std::uint64_t unlisted() const { return unlisted_; }   // at least: values without an entry that recovery may find again

 private:
  friend class SegmentTable;
  std::uint64_t file_bytes_ = 0, live_ = 0, unlisted_ = 0;
};

// Segments by id; a higher id was created later.
class SegmentTable {
 public:
  using Id = std::uint32_t;
  using Map = std::map<Id, Segment>;
  static constexpr std::size_t kMaxSegments = 16'384;
  [[nodiscard]] Map::const_iterator begin() const { return segments_.begin(); }
  [[nodiscard]] Map::const_iterator end() const { return segments_.end(); }
  [[nodiscard]] std::size_t size() const { return segments_.size(); }
  [[nodiscard]] bool empty() const { return segments_.empty(); }
  [[nodiscard]] bool contains(Id id) const { return segments_.contains(id); }
  // RETURNS: null if there is none.
  [[nodiscard]] Segment* find(Id id);
  [[nodiscard]] const Segment* find(Id id) const;
  [[nodiscard]] Segment& at(Id id) { return segments_.at(id); }
  // RETURNS the first segment after `id`.
  [[nodiscard]] Map::const_iterator after(Id id) const { return segments_.upper_bound(id); }
  // REQUIRES: the table is not empty.
  [[nodiscard]] Id oldest() const { return segments_.begin()->first; }
  [[nodiscard]] Id newest() const { return segments_.rbegin()->first; }

  [[nodiscard]] std::uint64_t file_bytes() const { return file_bytes_; }   // of all segments
  [[nodiscard]] std::uint64_t unlisted() const { return unlisted_; }       // of all segments

  // Creates the segment if it does not exist.
  Segment& set_file(Id id, std::uint64_t file_bytes, const SegmentHeader& header, std::shared_ptr<file::File> file);
  // REQUIRES: the segment exists.
  void set_file_bytes(Id id, std::uint64_t bytes);
  void add_live(Id id) { ++segments_.at(id).live_; }
  // No effect if the segment does not exist.
  void drop_live(Id id) noexcept;
  void add_unlisted(Id id, std::uint64_t records) noexcept;
  void drop_all_live() noexcept;
  // RETURNS: its file, to be closed without a lock held.
  std::shared_ptr<file::File> erase(Id id) noexcept;

 private:
  Map segments_;
  std::uint64_t file_bytes_ = 0, unlisted_ = 0;
};

}   // namespace tensorcache::disk
