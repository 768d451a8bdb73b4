// The log's files: begun, sealed, abandoned, removed.
#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr int kOthersFiles = 100;   // under the names of our next segments, at most

std::uint64_t random_number() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}   // namespace

int DiskTier::open_segment() {
  if (!owns_directory()) {
    lose_directory();
    return ESTALE;
  }
  std::uint32_t id = last_segment_ + 1;
  bool too_many = false;
  {
    const MutexLock lock(mutex_);
    if (!catalog_.segments().empty()) id = std::max(id, catalog_.segments().newest() + 1);
    too_many = catalog_.segments().size() >= kMaxSegments;
  }
  if (too_many && !evict_oldest(false)) return ENOSPC;
  Log log;
  int error = EEXIST;
  for (int i = 0; error == EEXIST && i < kOthersFiles; ++i, ++id) {
    log.header = {id, options_.unix_ms(), {random_number(), random_number()}};
    log.file = open_files_.open(path_of(id), file::Open::kCreate, &error);
  }
  if (!log.file) return error;
  id = static_cast<std::uint32_t>(log.header.id);
  error = file::write_fully(*log.file, 0, encode_segment_header(log.header));
  if (error == 0 && options_.sync != DiskSync::kNone) error = log.file->sync();
  if (error == 0 && options_.sync != DiskSync::kNone) error = options_.files->sync_directory(options_.directory);
  if (error != 0) {
    static_cast<void>(options_.files->remove(path_of(id)));
    return error;
  }
  log.segment = id;
  log.end = kSegmentHeaderBytes;
  std::shared_ptr<file::File> shared = open_files_.share(path_of(id), log.file);
  close_log();
  log_ = std::move(log);
  last_segment_ = id;
  const MutexLock lock(mutex_);
  catalog_.segments().set_file(id, kSegmentHeaderBytes, log_.header, std::move(shared));
  counters_.written_bytes += kSegmentHeaderBytes;
  return 0;
}

void DiskTier::seal_segment() {
  if (log_.segment == 0) return;
  const std::vector<std::byte> summary = encode_summary(log_.records, log_.header, log_.end);
  if (const int error = file::write_fully(*log_.file, log_.end, summary)) {
    fail("a segment cannot be sealed", error);
    abandon_segment();   // it will be walked over instead
    return;
  }
  {
    const MutexLock lock(mutex_);
    catalog_.segments().set_file_bytes(log_.segment, log_.end + summary.size());
    counters_.written_bytes += summary.size();
  }
  if (options_.sync != DiskSync::kNone) {
    if (const int error = log_.file->sync()) fail("a segment cannot be synced", error);
  }
  close_log();
}

void DiskTier::close_log() noexcept {
  give_back(log_.charged);
  log_ = {};
}

bool DiskTier::sync_log() {
  if (log_.segment == 0) return true;
  const int error = log_.file->sync();
  if (error == 0) return true;
  fail("the log cannot be synced", error);
  abandon_segment();
  return false;
}

// After an error: what is in it stays readable, and nothing more is written to it. Whether a failed write is in it is known only if the
// truncation is durable.
void DiskTier::abandon_segment() {
  if (log_.segment == 0) return;
  const std::uint64_t unpublished = std::exchange(unpublished_, 0);
  if (log_.records.empty()) {   // nothing in it: it would only be one more file
    remove_segment(log_.segment);
    return;
  }
  std::uint64_t bytes = log_.end;
  const bool cut = log_.file->truncate(log_.end) == 0;
  if (!cut && log_.file->size(&bytes) != 0) bytes = segment_bytes();
  const bool gone = cut && log_.file->sync() == 0;
  {
    const MutexLock lock(mutex_);
    if (catalog_.segments().contains(log_.segment)) {
      catalog_.segments().set_file_bytes(log_.segment, bytes);
      if (!gone) catalog_.segments().add_unlisted(log_.segment, unpublished);
    }
  }
  close_log();
}

void DiskTier::remove_segment(std::uint32_t id) {
  if (log_.segment == id) close_log();
  if (!owns_directory()) {
    lose_directory();
    return;
  }
  const std::string path = path_of(id);
  const std::uint64_t forgotten = forget_segment(id, false);
  const int error = options_.files->remove(path);
  const bool gone = error == 0 || error == ENOENT;
  std::shared_ptr<file::File> closed;   // with no lock held: the last close of a file that was removed frees all of its pages
  {
    const MutexLock lock(mutex_);
    counters_.evictions += forgotten;
    Segment* const segment = catalog_.segments().find(id);
    if (segment == nullptr) return;
    if (gone) {
      closed = catalog_.segments().erase(id);
    } else {   // it still takes its room, and the next start finds what is in it
      catalog_.segments().add_unlisted(id, std::max<std::uint64_t>(forgotten, 1));
      closed = std::move(segment->file);
      ++counters_.write_errors;
    }
  }
  if (!gone) fail("a segment cannot be removed", error);
}

// Sealed ones that hold no value, also none without an entry, which the next start may have memory for. A removal in one counts for older
// ones, so it stays until it is the oldest.
void DiskTier::remove_empty_segments() {
  std::vector<std::uint32_t> empty;
  {
    const MutexLock lock(mutex_);
    std::uint32_t previous = 0;   // the one before
    for (const auto& [id, segment] : catalog_.segments()) {
      const bool oldest = previous == 0 || (!empty.empty() && previous == empty.back());
      previous = id;
      if (segment.file && segment.live() == 0 && segment.unlisted() == 0 && id != log_.segment && (!segment.has_removals || oldest))
        empty.push_back(id);
    }
  }
  for (const std::uint32_t id : empty) remove_segment(id);
}

}   // namespace tensorcache::disk
