// The log: appends records to the open segment and seals it when it is full; evicts the oldest
// segment when the budget needs space, after its entries in use were rewritten at the end. Manages
// the memory of the index as well, because that evicts, too.
//
// THREADS: the writing thread only. The state's mutex is taken to access the shared state, and
// never held during I/O.
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
  std::uint32_t segment = 0;   // 0: no segment is open
  std::shared_ptr<file::File> file;
  SegmentHeader header;
  std::uint64_t end = 0;
  std::vector<Located> records;   // for the summary
  std::uint64_t charged = 0;      // memory charged for `records`
};

class SegmentLog {
 public:
  SegmentLog(DiskState& state, Directory& directory) : state_(state), directory_(directory) {}
  ~SegmentLog();
  SegmentLog(const SegmentLog&) = delete;
  SegmentLog& operator=(const SegmentLog&) = delete;

  static constexpr std::size_t kFreeRecords = 2048;   // records of the open segment that are not charged; more than a batch has
  [[nodiscard]] const OpenSegment& open() const { return open_; }
  // RETURNS the highest segment id seen in the directory.
  [[nodiscard]] std::uint32_t last_segment() const { return last_segment_; }
  void set_last_segment(std::uint32_t id) { last_segment_ = id; }
  // RETURNS a lower bound of the next record's position.
  [[nodiscard]] LogPosition position() const;

  // append.cc: appends to the log.
  using Publish = std::function<bool(std::size_t i, const Place& place)>;   // RETURNS false if it gave the record no entry
  // Appends records with their values, in pieces that fit into a segment. RETURNS false on a write
  // error.
  [[nodiscard]] bool append(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values, bool may_evict,
                            const Publish& publish);
  [[nodiscard]] bool log_removals(std::span<const RecordHeader> removals);
  // Marks the headers of removed values on disk as erased. RETURNS false if one may still be
  // readable.
  [[nodiscard]] bool erase_records(std::span<const Place> places);
  // Records that a value was overwritten, for the summary of the open segment.
  void note_overwritten(std::uint32_t segment, const Located& located);
  // Cleans up after an exception: the piece may be in the log without entries.
  void give_up_piece() noexcept;

  // segments.cc: segment files.
  [[nodiscard]] int open_segment();
  void seal_segment();
  void abandon_segment();
  void close_log() noexcept;
  void remove_segment(std::uint32_t segment);
  void remove_empty_segments();
  // Continues a small last segment; otherwise each start would leave one more.
  void resume_log(std::uint32_t id, std::uint64_t end, std::vector<Located> records);
  // Forgets everything about the directory, without touching it.
  void forget_directory() noexcept;
  // Handles a directory that was deleted, and perhaps replaced by another one: its contents are not
  // ours to touch, and our own files would take space that nobody sees.
  void lose_directory();
  // Calls lose_directory() if needed. RETURNS: true if the directory is still ours.
  [[nodiscard]] bool owns_directory();

  // evict.cc: space within the budget.
  [[nodiscard]] bool evict_oldest(bool keep_used);
  // Rewrites the live values of a segment and deletes it. RETURNS false if it stays.
  [[nodiscard]] bool rewrite_segment(std::uint32_t segment);

  // index_memory.cc: memory for entries, reserved before values are written, so that no value is
  // written without an entry.
  enum class Room : std::uint8_t { kYes, kLimit, kRefused };
  [[nodiscard]] Room grow_index(std::span<const EntryClass> classes);
  // RETURNS: the number of leading classes for whose entries there is memory.
  [[nodiscard]] std::size_t reserve_some_entries(std::span<const EntryClass> classes);
  // RETURNS: true while there is more to do.
  [[nodiscard]] bool shrink_index(std::size_t spare);
  void trim_index();

 private:
  [[nodiscard]] std::size_t fitting(std::span<const RecordHeader> headers, std::uint64_t* bytes) const;
  [[nodiscard]] int append_piece(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values,
                                 std::vector<Place>* places);
  [[nodiscard]] std::size_t max_records() const;
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
