// Segment files: opens, seals, abandons, deletes and continues them.
#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "store/disk/segment_log.h"

namespace tensorcache::disk {
namespace {

constexpr int kOthersFiles = 100;   // maximum number of foreign files under the names of our next segments

std::uint64_t random_number() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}   // namespace

int SegmentLog::open_segment() {
  if (!owns_directory()) return ESTALE;
  std::uint32_t id = last_segment_ + 1;
  bool too_many = false;
  {
    const MutexLock lock(state_.mutex);
    if (!state_.catalog.segments().empty()) id = std::max(id, state_.catalog.segments().newest() + 1);
    too_many = state_.catalog.segments().size() >= SegmentTable::kMaxSegments;
  }
  if (too_many && !evict_oldest(false)) return ENOSPC;
  OpenSegment log;
  int error = EEXIST;
  for (int i = 0; error == EEXIST && i < kOthersFiles; ++i, ++id) {
    log.header = {id, state_.options.unix_ms(), {random_number(), random_number()}};
    log.file = state_.open_files.open(directory_.path_of(id), file::Open::kCreate, &error);
  }
  if (!log.file) return error;
  id = static_cast<std::uint32_t>(log.header.id);
  error = file::write_fully(*log.file, 0, encode_segment_header(log.header));
  if (error == 0 && state_.options.sync != DiskSync::kNone) error = log.file->sync();
  if (error == 0 && state_.options.sync != DiskSync::kNone) error = state_.options.files->sync_directory(state_.options.directory);
  if (error != 0) {
    static_cast<void>(state_.options.files->remove(directory_.path_of(id)));
    return error;
  }
  log.segment = id;
  log.end = kSegmentHeaderBytes;
  std::shared_ptr<file::File> shared = state_.open_files.share(directory_.path_of(id), log.file);
  close_log();
  open_ = std::move(log);
  last_segment_ = id;
  const MutexLock lock(state_.mutex);
  state_.catalog.segments().set_file(id, kSegmentHeaderBytes, open_.header, std::move(shared));
  state_.counters.written_bytes += kSegmentHeaderBytes;
  return 0;
}

void SegmentLog::seal_segment() {
  if (open_.segment == 0) return;
  const std::vector<std::byte> summary = encode_summary(open_.records, open_.header, open_.end);
  if (const int error = file::write_fully(*open_.file, open_.end, summary)) {
    state_.fail("a segment cannot be sealed", error);
    abandon_segment();   // recovery will walk over it instead
    return;
  }
  {
    const MutexLock lock(state_.mutex);
    state_.catalog.segments().set_file_bytes(open_.segment, open_.end + summary.size());
    state_.counters.written_bytes += summary.size();
  }
  if (state_.options.sync != DiskSync::kNone) {
    if (const int error = open_.file->sync()) state_.fail("a segment cannot be synced", error);
  }
  close_log();
}

void SegmentLog::close_log() noexcept {
  state_.give_back(open_.charged);
  open_ = {};
}

bool SegmentLog::sync_log() {
  if (open_.segment == 0) return true;
  const int error = open_.file->sync();
  if (error == 0) return true;
  state_.fail("the log cannot be synced", error);
  abandon_segment();
  return false;
}

// Abandons the open segment after an error: its records stay readable and nothing more is written
// to it. A failed write is known not to be in it only if the truncation is durable.
void SegmentLog::abandon_segment() {
  if (open_.segment == 0) return;
  const std::uint64_t unpublished = std::exchange(unpublished_, 0);
  if (open_.records.empty()) {   // an empty segment: delete the file
    remove_segment(open_.segment);
    return;
  }
  std::uint64_t bytes = open_.end;
  const bool cut = open_.file->truncate(open_.end) == 0;
  if (!cut && open_.file->size(&bytes) != 0) bytes = state_.segment_bytes();
  const bool gone = cut && open_.file->sync() == 0;
  {
    const MutexLock lock(state_.mutex);
    if (state_.catalog.segments().contains(open_.segment)) {
      state_.catalog.segments().set_file_bytes(open_.segment, bytes);
      if (!gone) state_.catalog.segments().add_unlisted(open_.segment, unpublished);
    }
  }
  close_log();
}

void SegmentLog::remove_segment(std::uint32_t id) {
  if (open_.segment == id) close_log();
  if (!owns_directory()) return;
  const std::string path = directory_.path_of(id);
  const std::uint64_t forgotten = state_.forget_segment(id, false);
  const int error = state_.options.files->remove(path);
  const bool gone = error == 0 || error == ENOENT;
  std::shared_ptr<file::File> closed;   // closed without a lock: the last close of a deleted file frees all its pages
  {
    const MutexLock lock(state_.mutex);
    state_.counters.evictions += forgotten;
    Segment* const segment = state_.catalog.segments().find(id);
    if (segment == nullptr) return;
    if (gone) {
      closed = state_.catalog.segments().erase(id);
    } else {   // it still takes space, and the next start finds its records
      state_.catalog.segments().add_unlisted(id, std::max<std::uint64_t>(forgotten, 1));
      closed = std::move(segment->file);
      ++state_.counters.write_errors;
    }
  }
  if (!gone) state_.fail("a segment cannot be removed", error);
}

// Deletes sealed segments without values, including values without an entry, for which the next
// start may have memory. A segment with removals is kept until it is the oldest, because older ones
// depend on them.
void SegmentLog::remove_empty_segments() {
  std::vector<std::uint32_t> empty;
  {
    const MutexLock lock(state_.mutex);
    std::uint32_t previous = 0;   // the previous segment
    for (const auto& [id, segment] : state_.catalog.segments()) {
      const bool oldest = previous == 0 || (!empty.empty() && previous == empty.back());
      previous = id;
      if (segment.file && segment.live() == 0 && segment.unlisted() == 0 && id != open_.segment && (!segment.has_removals || oldest))
        empty.push_back(id);
    }
  }
  for (const std::uint32_t id : empty) remove_segment(id);
}

// Continues a small last segment; otherwise each start would leave one more. Its summary is written
// again when it is full.
void SegmentLog::resume_log(std::uint32_t id, std::uint64_t end, std::vector<Located> records) {
  OpenSegment log;
  {
    const MutexLock lock(state_.mutex);
    Segment* const segment = state_.catalog.segments().find(id);
    if (segment == nullptr || !segment->file || segment->file_bytes() > state_.target_segment_bytes / 2) return;
    log.segment = id;
    log.header = segment->header;
  }
  if (records.empty() || records.size() > kFreeRecords) return;
  int error = 0;
  log.file = state_.open_files.open(directory_.path_of(id), file::Open::kWrite, &error);
  if (!log.file || log.file->truncate(end) != 0) return;
  log.end = end;
  log.records = std::move(records);
  const MutexLock lock(state_.mutex);
  state_.catalog.segments().set_file_bytes(id, log.end);
  open_ = std::move(log);
}

void SegmentLog::forget_directory() noexcept {
  close_log();
  Index entries;   // both are freed after the mutex is released
  SegmentTable segments;
  const MutexLock lock(state_.mutex);
  state_.catalog.reset(entries, segments);
  state_.recovered = false;
}

bool SegmentLog::owns_directory() {
  if (directory_.is_ours()) return true;
  lose_directory();
  return false;
}

SegmentLog::~SegmentLog() { state_.give_back(open_.charged); }

LogPosition SegmentLog::position() const {
  if (open_.segment != 0) return {open_.segment, open_.end};
  const MutexLock lock(state_.mutex);
  const SegmentTable& segments = state_.catalog.segments();
  return {std::max(last_segment_, segments.empty() ? 0 : segments.newest()) + 1, 0};
}

void SegmentLog::give_up_piece() noexcept {
  const MutexLock lock(state_.mutex);
  state_.catalog.segments().add_unlisted(open_.segment, std::exchange(unpublished_, 0));
}

void SegmentLog::lose_directory() {
  forget_directory();
  state_.fail("the directory was deleted or replaced", ESTALE);
}

}   // namespace tensorcache::disk
