// What was removed: said in the log, marked where it stands, and kept in mind until that is done.
#include <algorithm>
#include <cerrno>
#include <iterator>
#include <set>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
// A removal is a promise to somebody, so it is synced whatever is chosen for values.
bool DiskTier::log_removals(std::span<const RecordHeader> removals) {
  const std::vector<std::span<const std::byte>> nothing(removals.size());
  const bool logged = append(removals, nothing, true,
                             [&](std::size_t, const Place& place) {
                               const MutexLock lock(mutex_);
                               catalog_.segments().at(place.segment).has_removals = true;
                               return true;
                             }) &&
                      (options_.sync == DiskSync::kRecord || sync_log());
  if (!logged && !broken() && !late()) fail("removals cannot be written", ENOSPC);   // and are tried again after a pause
  return logged;
}

// Removals leave the queue once they are logged, and stay in it if that fails.
void DiskTier::write_removals(Removals begin, Removals end) {
  std::vector<RecordHeader> headers;
  std::vector<Place> erased;
  for (auto removal = begin; removal != end; ++removal) {
    if (removal->type == RecordType::kRemove) erased.insert(erased.end(), removal->erased.begin(), removal->erased.end());
    if (removal->type == RecordType::kClearOwner && !removal->what.is_an_owner()) continue;   // no record says it, but the list of wipes
    RecordHeader header;
    header.type = removal->type;
    header.key = removal->key;
    header.owner = removal->what.owner.value_or(0);
    header.created_unix_ms = options_.unix_ms();
    headers.push_back(header);
  }
  if (!add_wipes(begin, end) || (!headers.empty() && !log_removals(headers))) {
    lost_some_ = true;
    const MutexLock lock(mutex_);
    ledger_.put_back(writing_removals_, begin, end);
    return;
  }
  // The log may lose the segment that says so; the values are unreadable then, too.
  if (!late() && !erase_records(erased)) lost_some_ = true;
  std::list<Removal> done;
  {
    const MutexLock lock(mutex_);
    ledger_.settle(writing_removals_, begin, end, done);
    changed_.notify_all();
  }
  remove_empty_segments();
}

// Marks the headers of removed values where they stand. False if one may still be readable.
bool DiskTier::erase_records(std::span<const Place> places) {
  if (!owns_directory()) {   // a file that is opened again may be another cache's
    lose_directory();
    return false;
  }
  bool all = true;
  std::map<std::uint32_t, std::shared_ptr<file::File>> touched;
  for (const Place& place : places) {
    std::shared_ptr<file::File> file;
    Salt salt;
    {
      const MutexLock lock(mutex_);
      if (late_locked()) return false;
      Segment* const segment = catalog_.segments().find(place.segment);
      if (segment == nullptr) continue;   // gone as a whole
      if (!segment->file) {               // should have gone, but the disk refused
        all = false;
        continue;
      }
      file = segment->file;
      salt = segment->header.salt;
    }
    const std::uint64_t offset = std::uint64_t{place.unit} * kAlignment;
    RecordHeader erased;
    erased.type = RecordType::kErased;
    erased.value_bytes = place.value_bytes;
    all &= file::write_fully(*file, offset, encode_record_header(erased, salt, offset)) == 0;
    touched[place.segment] = std::move(file);
  }
  for (const auto& [segment, file] : touched) all &= file->sync() == 0;
  return all;
}

// Everything was cleared: no file is left to say otherwise. Until they all are gone a mark says it, so that not even a kill brings some back.
void DiskTier::clear_log(Removals clearing) {
  close_log();
  std::vector<std::uint32_t> ids;
  {
    const MutexLock lock(mutex_);
    for (const auto& [id, segment] : catalog_.segments()) ids.push_back(id);
  }
  const auto unlink = [this](const char* name) {
    const int error = options_.files->remove(path_of(name));
    return error == ENOENT ? 0 : error;
  };
  const bool marks = !ids.empty() && !late() && owns_directory() && mark_stale();   // where that fails, they may go all the same
  for (const std::uint32_t id : ids) {
    if (!late()) remove_segment(id);
  }
  bool gone = false;
  {
    const MutexLock lock(mutex_);
    gone = catalog_.segments().empty() && recovered_ && !late_locked();
  }
  int error = 0;
  if (gone) error = unlink(kWipesFile);
  if (gone && error == 0) error = options_.files->sync_directory(options_.directory);
  if (gone && error == 0 && marks) error = unlink("stale");
  if (error != 0) fail("the directory cannot be changed", error);
  if (gone && error == 0) {
    set_wipes({});
    sweep_ = {};
    answer_parked(false);
  }
  std::list<Removal> done;
  const MutexLock lock(mutex_);
  if (error != 0 || !gone) {   // once the disk works
    lost_some_ = true;
    ledger_.put_back(writing_removals_, clearing, std::next(clearing));
    return;
  }
  ledger_.settle(writing_removals_, clearing, std::next(clearing), done);
  changed_.notify_all();
}

// What is left of the segments is written anew and they go, but for those whose removals count for older ones: there, where there is no
// room, and wherever else something of it lies, it is overwritten.
void DiskTier::write_purge(Removals purge) {
  std::vector<RecordHeader> headers(purge->purged.size());
  for (std::size_t i = 0; i < headers.size(); ++i) {
    headers[i].type = RecordType::kRemove;
    headers[i].key = purge->purged[i];
    headers[i].created_unix_ms = options_.unix_ms();
  }
  if (!add_wipes(purge, std::next(purge)) || (!headers.empty() && !log_removals(headers))) {
    lost_some_ = true;
    const MutexLock lock(mutex_);
    ledger_.put_back(writing_removals_, purge, std::next(purge));
    return;
  }
  std::set<std::uint32_t> touched;
  for (const Place& place : purge->erased) touched.insert(place.segment);
  for (const std::uint32_t segment : touched) {
    if (!late()) static_cast<void>(rewrite_segment(segment));
  }
  std::list<Removal> done;
  const MutexLock lock(mutex_);
  ledger_.settle(writing_removals_, purge, std::next(purge), done);
}

bool DiskTier::rewrite_segment(std::uint32_t segment) {
  std::vector<std::pair<std::uint32_t, Key>> found;
  {
    const MutexLock lock(mutex_);
    Segment* const known = catalog_.segments().find(segment);
    if (known == nullptr) return true;
    if (segment == log_.segment || (known->has_removals && segment != catalog_.segments().oldest())) return false;
  }
  walk_index([&](Index::Id id) TC_REQUIRES(mutex_) {
    if (catalog_[id].place.segment == segment) found.emplace_back(catalog_[id].place.unit, catalog_[id].key);
    return true;
  });
  std::sort(found.begin(), found.end());   // parents first
  std::vector<Key> keys;
  for (const auto& [unit, key] : found) keys.push_back(key);
  if (!write_again(segment, keys)) return false;
  remove_segment(segment);
  return !segment_exists(segment);
}

}   // namespace tensorcache::disk
