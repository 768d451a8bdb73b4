// The log: records are appended to the open segment, which is sealed when it is
// full; the oldest segment is evicted when the budget needs room, after what is
// still in use was written again at the end. Also the memory of the index,
// which evicts for the same reason.
//
// THREADS: the writing thread only. The state's mutex is taken where that is
// looked at or changed, and never held during I/O.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "store/disk/directory.h"
#include "store/disk/disk_state.h"
#include "store/disk/format.h"
#include "store/disk/selection.h"

namespace tensorcache::disk {

struct OpenSegment {
  std::uint32_t segment = 0;   // 0: none is open
  std::shared_ptr<file::File> file;
  SegmentHeader header;
  std::uint64_t end = 0;
  std::vector<Located> records;   // for the summary
  std::uint64_t charged = 0;      // for these
};

class SegmentLog {
 public:
  SegmentLog(DiskState& state, Directory& directory) : state_(state), directory_(directory) {}
  ~SegmentLog();
  SegmentLog(const SegmentLog&) = delete;
  SegmentLog& operator=(const SegmentLog&) = delete;

  static constexpr std::size_t kFreeRecords = 2048;   // of the open segment, not charged; more than a batch has
  [[nodiscard]] const OpenSegment& open() const { return open_; }
  // The highest id that was seen in the directory.
  [[nodiscard]] std::uint32_t last_segment() const { return last_segment_; }
  void set_last_segment(std::uint32_t id) { last_segment_ = id; }
  // Where the next record will be, or later.
  [[nodiscard]] LogPosition position() const;

  // append.cc: to the end of the log.
  using Publish = std::function<bool(std::size_t i, const Place& place)>;   // false: there is no entry for it
  // Records with their values, in pieces that fit a segment; false: it could
  // not be written.
  [[nodiscard]] bool append(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values, bool may_evict,
                            const Publish& publish);
  [[nodiscard]] bool log_removals(std::span<const RecordHeader> removals);
  // Marks the headers of removed values where they stand. False if one may
  // still be readable.
  [[nodiscard]] bool erase_records(std::span<const Place> places);
  // A record's value is overwritten. In the open segment, so that its summary
  // tells, too.
  void note_overwritten(std::uint32_t segment, const Located& located);
  // What an exception left of a piece: it may be in the log, and has no entry.
  void give_up_piece() noexcept;

  // segments.cc: its files.
  [[nodiscard]] int open_segment();
  void seal_segment();
  void abandon_segment();
  void close_log() noexcept;
  void remove_segment(std::uint32_t segment);
  void remove_empty_segments();
  // A small last segment is filled further, or every start would leave one
  // more.
  void resume_log(std::uint32_t id, std::uint64_t end, std::vector<Located> records);
  // Forgets what is known of the directory, without touching it.
  void forget_directory() noexcept;
  // Somebody deleted the directory, and perhaps made another one in its place.
  // Nothing in it is ours to touch any more, and our own files would go on
  // taking room that nobody sees.
  void lose_directory();
  // Loses it if that is so. RETURNS: whether it is still ours.
  [[nodiscard]] bool owns_directory();

  // evict.cc: room within the budget.
  [[nodiscard]] bool evict_oldest(bool keep_used);
  // Writes what lives in a segment anew and removes it. False: it stays.
  [[nodiscard]] bool rewrite_segment(std::uint32_t segment);

  // index_memory.cc: memory for entries, taken before values are written, so
  // that none is written without an entry.
  enum class Room : std::uint8_t { kYes, kLimit, kRefused };
  [[nodiscard]] Room grow_index(std::span<const EntryClass> classes);
  // RETURNS: for how many of these, from the first on, there is memory.
  [[nodiscard]] std::size_t reserve_some_entries(std::span<const EntryClass> classes);
  // RETURNS: true while there is more to do.
  [[nodiscard]] bool shrink_index(std::size_t spare);
  void trim_index();

 private:
  [[nodiscard]] std::size_t fitting(std::span<const RecordHeader> headers, std::uint64_t* bytes) const;
  [[nodiscard]] int append_piece(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values,
                                 std::vector<Place>* places);
  [[nodiscard]] std::size_t most_records() const;
  [[nodiscard]] bool reserve_records(std::size_t count);
  void erase_unlisted(std::span<const Place> places);
  [[nodiscard]] bool sync_log();
  [[nodiscard]] bool make_room(std::uint64_t bytes, std::size_t log_records, bool may_evict);
  [[nodiscard]] std::vector<Key> worth_keeping(std::uint32_t victim);
  bool write_again(std::uint32_t victim, std::span<const Key> keys);
  [[nodiscard]] bool reserve_entries(std::span<const EntryClass> classes);

  DiskState& state_;
  Directory& directory_;
  OpenSegment open_;
  std::uint64_t unpublished_ = 0;   // values of the piece that is being written
  std::uint32_t last_segment_ = 0;
};

}   // namespace tensorcache::disk
