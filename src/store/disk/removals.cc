// Writes removals: logs them, erases the record headers, and keeps them in the ledger until then.
#include <cerrno>
#include <iterator>
#include <set>

#include "store/disk/writer.h"

namespace tensorcache::disk {

// Logged removals leave the queue; failed ones stay in it.
void Writer::write_removals(Removals begin, Removals end) {
  std::vector<RecordHeader> headers;
  std::vector<Place> erased;
  for (auto removal = begin; removal != end; ++removal) {
    if (removal->type == RecordType::kRemove) erased.insert(erased.end(), removal->erased.begin(), removal->erased.end());
    if (removal->type == RecordType::kClearOwner && !removal->what.is_an_owner()) continue;   // not logged: the list of wipes records it
    RecordHeader header;
    header.type = removal->type;
    header.key = removal->key;
    header.owner = removal->what.owner.value_or(0);
    header.created_unix_ms = state_.options.unix_ms();
    headers.push_back(header);
  }
  if (!scrubber_.add_wipes(begin, end) || (!headers.empty() && !log_.log_removals(headers))) {
    lost_some_ = true;
    const MutexLock lock(state_.mutex);
    state_.ledger.put_back(writing_removals_, begin, end);
    return;
  }
  // The log may lose the segment with the removal; erased headers keep the values unreadable even
  // then.
  if (!state_.late() && !log_.erase_records(erased)) lost_some_ = true;
  std::list<Removal> done;
  {
    const MutexLock lock(state_.mutex);
    state_.ledger.settle(writing_removals_, begin, end, done);
    state_.changed.notify_all();
  }
  log_.remove_empty_segments();
}

// Clears everything by deleting all files. A mark is written first, so that no value reappears if
// the process is killed in between.
void Writer::clear_log(Removals clearing) {
  log_.close_log();
  std::vector<std::uint32_t> ids;
  {
    const MutexLock lock(state_.mutex);
    for (const auto& [id, segment] : state_.catalog.segments()) ids.push_back(id);
  }
  const auto unlink = [this](const char* name) {
    const int error = state_.options.files->remove(directory_.path_of(name));
    return error == ENOENT ? 0 : error;
  };
  const bool marks =
      !ids.empty() && !state_.late() && directory_.is_ours() && directory_.mark_stale();   // if it fails, the files can be deleted even so
  for (const std::uint32_t id : ids) {
    if (!state_.late()) log_.remove_segment(id);
  }
  bool gone = false;
  {
    const MutexLock lock(state_.mutex);
    gone = state_.catalog.segments().empty() && state_.recovered && !state_.late_locked();
  }
  int error = 0;
  if (gone) error = unlink(kWipesFile);
  if (gone && error == 0) error = state_.options.files->sync_directory(state_.options.directory);
  if (gone && error == 0 && marks) error = unlink("stale");
  if (error != 0) state_.fail("the directory cannot be changed", error);
  if (gone && error == 0) {
    scrubber_.forget_all();
  }
  std::list<Removal> done;
  const MutexLock lock(state_.mutex);
  if (error != 0 || !gone) {   // retried once the disk works
    lost_some_ = true;
    state_.ledger.put_back(writing_removals_, clearing, std::next(clearing));
    return;
  }
  state_.ledger.settle(writing_removals_, clearing, std::next(clearing), done);
  state_.changed.notify_all();
}

// Rewrites what else lives in the segments and deletes them. Segments whose removals older ones
// depend on, segments for which there is no space, and earlier copies elsewhere are overwritten
// instead.
void Writer::write_purge(Removals purge) {
  std::vector<RecordHeader> headers(purge->purged.size());
  for (std::size_t i = 0; i < headers.size(); ++i) {
    headers[i].type = RecordType::kRemove;
    headers[i].key = purge->purged[i];
    headers[i].created_unix_ms = state_.options.unix_ms();
  }
  if (!scrubber_.add_wipes(purge, std::next(purge)) || (!headers.empty() && !log_.log_removals(headers))) {
    lost_some_ = true;
    const MutexLock lock(state_.mutex);
    state_.ledger.put_back(writing_removals_, purge, std::next(purge));
    return;
  }
  std::set<std::uint32_t> touched;
  for (const Place& place : purge->erased) touched.insert(place.segment);
  for (const std::uint32_t segment : touched) {
    if (!state_.late()) static_cast<void>(log_.rewrite_segment(segment));
  }
  std::list<Removal> done;
  const MutexLock lock(state_.mutex);
  state_.ledger.settle(writing_removals_, purge, std::next(purge), done);
}

}   // namespace tensorcache::disk
