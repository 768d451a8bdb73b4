// The log's files: begun, sealed, given up, removed; and what happens when the disk fails.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::chrono::milliseconds kLongestPause{60'000};

constexpr int kOthersFiles = 100;   // under the names of our next segments, at most

std::uint64_t random_number() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}   // namespace

int DiskTier::open_segment() {
  std::uint32_t id = 1;
  {
    const std::lock_guard lock(mutex_);
    if (!segments_.empty()) id = segments_.rbegin()->first + 1;
  }
  Log log;
  int error = EEXIST;
  for (int i = 0; error == EEXIST && i < kOthersFiles; ++i, ++id) {
    log.header = {id, options_.unix_ms(), {random_number(), random_number()}};
    log.file = options_.files->open(path_of(id), Open::kCreate, &error);
  }
  if (!log.file) return error;
  id = static_cast<std::uint32_t>(log.header.id);
  error = write_fully(*log.file, 0, encode_segment_header(log.header));
  if (error == 0 && options_.sync != DiskSync::kNone) error = log.file->sync();
  if (error == 0 && options_.sync != DiskSync::kNone) error = options_.files->sync_directory(options_.directory);
  if (error != 0) {
    static_cast<void>(options_.files->remove(path_of(id)));
    return error;
  }
  log.segment = id;
  log.end = kSegmentHeaderBytes;
  log_ = std::move(log);
  const std::lock_guard lock(mutex_);
  segments_[id] = {kSegmentHeaderBytes, 0, false, log_.file, log_.header};
  used_ += kSegmentHeaderBytes;
  counters_.written_bytes += kSegmentHeaderBytes;
  return 0;
}

void DiskTier::seal_segment() {
  if (log_.segment == 0) return;
  const std::vector<std::byte> summary = encode_summary(log_.records, log_.header, log_.end);
  if (const int error = write_fully(*log_.file, log_.end, summary)) {
    fail("a segment cannot be sealed", error);
    abandon_segment();   // it will be walked over instead
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    segments_[log_.segment].file_bytes = log_.end + summary.size();
    used_ += summary.size();
    counters_.written_bytes += summary.size();
  }
  if (options_.sync != DiskSync::kNone) {
    if (const int error = log_.file->sync()) fail("a segment cannot be synced", error);
  }
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

// After an error: what is in it stays readable, nothing more is written to it, and it is never synced again.
void DiskTier::abandon_segment() {
  if (log_.segment == 0) return;
  if (log_.records.empty()) {   // nothing in it: it would only be one more file
    remove_segment(log_.segment);
    return;
  }
  std::uint64_t bytes = log_.end;
  if (log_.file->truncate(log_.end) != 0 && log_.file->size(&bytes) != 0) bytes = segment_bytes_;
  const std::lock_guard lock(mutex_);
  Segment& segment = segments_[log_.segment];
  used_ += bytes - segment.file_bytes;
  segment.file_bytes = bytes;
  log_ = {};
}

void DiskTier::remove_segment(std::uint32_t id) {
  if (log_.segment == id) log_ = {};
  const int error = options_.files->remove(path_of(id));
  {
    const std::lock_guard lock(mutex_);
    const auto segment = segments_.find(id);
    std::vector<Key> left;
    index_.for_each([&](Index::Id each) {
      if (index_[each].place.segment == id) left.push_back(index_[each].key);
    });
    for (const Key& key : left) {
      if (const Index::Id each = index_.find(key)) counters_.evictions += erase_locked(each);
    }
    // What cannot be removed still takes its room.
    if (error != 0 && error != ENOENT) {
      segment->second.file = nullptr;
      ++counters_.write_errors;
    } else {
      used_ -= segment->second.file_bytes;
      segments_.erase(segment);
    }
  }
  if (error != 0 && error != ENOENT) fail("a segment cannot be removed", error);
}

// Sealed ones that nothing points into. A removal in one counts for older ones, so it stays until it is the oldest.
void DiskTier::remove_empty_segments() {
  std::vector<std::uint32_t> empty;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, segment] : segments_) {
      const bool oldest = id == segments_.begin()->first || (!empty.empty() && std::prev(segments_.find(id))->first == empty.back());
      if (segment.file && segment.live == 0 && id != log_.segment && (!segment.has_removals || oldest)) empty.push_back(id);
    }
  }
  for (const std::uint32_t id : empty) remove_segment(id);
}

void DiskTier::fail(const char* what, int error) {
  bool news = false;
  std::string reason = std::string(what) + ": " + std::strerror(error);
  {
    const std::lock_guard lock(mutex_);
    ++counters_.write_errors;
    news = !health_.broken;
    health_.broken = true;
    health_.reason = reason;
    health_.pause = std::clamp(health_.pause * 2, options_.retry_pause, std::max(options_.retry_pause, kLongestPause));
    health_.retry_at = std::chrono::steady_clock::now() + health_.pause;
  }
  if (news) note(reason + "; nothing is written until it works again");
}

void DiskTier::heal() {
  int error = options_.files->make_directory(options_.directory);
  const std::string lock_path = options_.directory + "/LOCK";
  if (error == 0 && (!lock_ || !options_.files->exists(lock_path))) {
    lock_ = nullptr;
    lock_ = options_.files->lock(lock_path, &error);
  }
  if (error != 0) {
    fail("the directory cannot be used", error);
    return;
  }
  abandon_segment();
  if (!recovered_) recover();
  if (!recovered_) return;
  if (log_.segment == 0) error = open_segment();   // recovery may have taken up the last one
  if (error != 0) {
    fail("a segment cannot be made", error);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    health_.broken = false;
    health_.reason.clear();
  }
  note("works again");
}

// Somebody may delete the directory under us; files that are open would go on taking room that nobody sees.
void DiskTier::look_after_directory() {
  if (options_.files->exists(options_.directory + "/LOCK")) return;
  fail("the directory is gone", ENOENT);
  std::vector<std::uint32_t> ids;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, segment] : segments_) ids.push_back(id);
  }
  for (const std::uint32_t id : ids) {
    if (!options_.files->exists(path_of(id))) remove_segment(id);
  }
}

}   // namespace tensorcache::disk
