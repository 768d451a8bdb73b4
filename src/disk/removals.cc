// What was removed: said in the log, marked where it stands, and kept in mind until that is done.
#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>

#include "disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

// Done, unless the same was removed once more since.
template <class Pending, class Name>
void settle(Pending& pending, const Name& name, std::uint64_t number) {
  const auto found = pending.find(name);
  if (found != pending.end() && found->second == number) pending.erase(found);
}

bool wipe_bytes(File& file, std::uint64_t offset, std::uint64_t bytes) {
  static constexpr std::array<std::byte, 64 << 10> kZeros{};
  for (std::uint64_t done = 0; done < bytes;) {
    const auto part = std::span(kZeros).first(std::min<std::uint64_t>(bytes - done, kZeros.size()));
    if (write_fully(file, offset + done, part) != 0) return false;
    done += part.size();
  }
  return true;
}

}   // namespace

// A removal is a promise to somebody, so it is synced whatever is chosen for values.
bool DiskTier::log_removals(std::span<const RecordHeader> removals) {
  const std::vector<std::span<const std::byte>> nothing(removals.size());
  const bool logged = append(removals, nothing, true,
                             [&](std::size_t, const Place& place) {
                               const std::lock_guard lock(mutex_);
                               segments_.at(place.segment).has_removals = true;
                               return true;
                             }) &&
                      (options_.sync == DiskSync::kRecord || sync_log());
  if (!logged && !broken() && !late()) fail("removals cannot be written", ENOSPC);   // and are tried again after a pause
  return logged;
}

// Removals leave the queue once they are logged, and stay in it if that fails.
void DiskTier::write_removals(Removals begin, Removals end) {
  std::vector<RecordHeader> headers;
  std::vector<Place> erased, wiped;   // wiped: what an owner had
  for (auto removal = begin; removal != end; ++removal) {
    RecordHeader header;
    header.type = removal->type;
    header.key = removal->key;
    header.owner = removal->owner;
    header.created_unix_ms = options_.unix_ms();
    headers.push_back(header);
    std::vector<Place>& places = removal->type == RecordType::kClearOwner ? wiped : erased;
    places.insert(places.end(), removal->erased.begin(), removal->erased.end());
  }
  if (!log_removals(headers)) {
    lost_some_ = true;
    const std::lock_guard lock(mutex_);
    requeue_locked(begin, end);
    return;
  }
  // The log may lose the segment that says so; the values are unreadable then, too.
  if (!late()) {
    const bool all_erased = erase_records(erased), all_wiped = erase_records(wiped, true);   // each is tried, whatever became of the other
    if (!all_erased || !all_wiped) lost_some_ = true;
  }
  std::list<Removal> done;
  {
    const std::lock_guard lock(mutex_);
    for (auto removal = begin; removal != end; ++removal) settle_locked(*removal);
    done.splice(done.begin(), writing_.removals, begin, end);
    changed_.notify_all();
  }
  remove_empty_segments();
}

void DiskTier::settle_locked(const Removal& removal) {
  erased_waiting_ -= std::min<std::uint64_t>(erased_waiting_, removal.erased.size());
  if (removal.type == RecordType::kClearOwner) {
    settle(clearings_, removal.owner, removal.number);
  } else if (removal.purged.empty()) {
    settle(removals_, removal.key, removal.number);
  }
  for (const Key& key : removal.purged) settle(removals_, key, removal.number);
}

// Marks the headers of removed values where they stand. False if one may still be readable.
bool DiskTier::erase_records(std::span<const Place> places, bool wipe) {
  if (!owns_directory()) {   // a file that is opened again may be another cache's
    lose_directory();
    return false;
  }
  bool all = true;
  std::map<std::uint32_t, std::shared_ptr<File>> touched;
  for (const Place& place : places) {
    std::shared_ptr<File> file;
    Salt salt;
    {
      const std::lock_guard lock(mutex_);
      if (late_locked()) return false;
      const auto segment = segments_.find(place.segment);
      if (segment == segments_.end()) continue;   // gone as a whole
      if (!segment->second.file) {                // should have gone, but the disk refused
        all = false;
        continue;
      }
      file = segment->second.file;
      salt = segment->second.header.salt;
    }
    const std::uint64_t offset = std::uint64_t{place.unit} * kAlignment;
    RecordHeader erased;
    erased.type = RecordType::kErased;
    erased.value_bytes = place.value_bytes;
    all &= write_fully(*file, offset, encode_record_header(erased, salt, offset)) == 0;
    if (wipe) all &= wipe_bytes(*file, offset + kRecordHeaderBytes, place.value_bytes);
    touched[place.segment] = std::move(file);
  }
  for (const auto& [segment, file] : touched) all &= file->sync() == 0;
  return all;
}

// Everything was cleared: no file is left to say otherwise.
void DiskTier::clear_log(Removals clearing) {
  close_log();
  std::vector<std::uint32_t> ids;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, segment] : segments_) ids.push_back(id);
  }
  for (const std::uint32_t id : ids) {
    if (!late()) remove_segment(id);
  }
  const int error = late() ? 0 : options_.files->sync_directory(options_.directory);
  if (error != 0) fail("the directory cannot be synced", error);
  const std::lock_guard lock(mutex_);
  if (error != 0 || !segments_.empty() || !recovered_) {   // once the disk works
    lost_some_ = true;
    requeue_locked(clearing, std::next(clearing));
    return;
  }
  if (clear_waits_ == clearing->number) clear_waits_ = 0;
  writing_.removals.erase(clearing);
  changed_.notify_all();
}

// What is left of the segments is written anew and they go, but for those whose removals count for older ones: there, and where there is
// no room, the values are overwritten.
void DiskTier::write_purge(Removals purge) {
  std::vector<RecordHeader> headers(purge->purged.size());
  for (std::size_t i = 0; i < headers.size(); ++i) {
    headers[i].type = RecordType::kRemove;
    headers[i].key = purge->purged[i];
    headers[i].created_unix_ms = options_.unix_ms();
  }
  bool done = log_removals(headers);
  const bool logged = done;
  std::map<std::uint32_t, std::vector<Place>> touched;
  for (const Place& place : purge->erased) touched[place.segment].push_back(place);
  for (const auto& [segment, places] : touched) {
    if (late()) {
      done = false;
    } else if (!rewrite_segment(segment)) {
      done &= erase_records(places, true);
    }
  }
  if (!done) lost_some_ = true;
  const std::lock_guard lock(mutex_);
  if ((!logged || late_locked()) && !done) {
    requeue_locked(purge, std::next(purge));
    return;
  }
  settle_locked(*purge);
  writing_.removals.erase(purge);
}

bool DiskTier::rewrite_segment(std::uint32_t segment) {
  std::vector<std::pair<std::uint32_t, Key>> found;
  {
    const std::lock_guard lock(mutex_);
    const auto known = segments_.find(segment);
    if (known == segments_.end()) return true;
    if (segment == log_.segment || (known->second.has_removals && segment != segments_.begin()->first)) return false;
  }
  walk_index([&](Index::Id id) {
    if (index_[id].place.segment == segment) found.emplace_back(index_[id].place.unit, index_[id].key);
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
