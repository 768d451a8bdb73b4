// At start: from the segments' summaries to the index.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "store/disk/disk_tier.h"
#include "store/disk/segment_reader.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kSlice = 1024;          // records that are taken up before memory for more is asked for
constexpr std::size_t kFreeOrphans = 4096;    // values that wait for their parent, not charged
constexpr std::uint64_t kOrphanBytes = 144;   // of one, where each has a parent of its own

bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM; }

}   // namespace

// Oldest first, as it was written: a later copy of a value counts, and a removal counts for what is before it. A block may come before its
// parent, which was written again since; it waits for it among the orphans. False: nothing is indexed, and it is to be tried again.
bool DiskTier::recover() {
  forget_directory();
  std::vector<std::string> files;
  if (const int error = options_.files->list(options_.directory, &files)) {
    fail("it cannot be listed", error);
    return false;
  }
  std::vector<std::uint64_t> ids;
  for (const std::string& name : files) {
    const auto id = segment_id(name);
    if (id && *id > 0 && *id < std::numeric_limits<std::uint32_t>::max()) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());
  if (!ids.empty()) last_segment_ = static_cast<std::uint32_t>(ids.back());
  if (const int error = recover_wipes(files, &ids)) {
    fail("what was removed cannot be dropped", error);
    return false;
  }
  Orphans orphans;
  orphans.room = kFreeOrphans;
  SegmentContents last;
  std::vector<Located> records;
  for (const std::uint64_t id : ids) {
    if (recovery_is_late()) return false;
    if (const int error = recover_segment(static_cast<std::uint32_t>(id), &orphans, &last, &records)) {
      forget_directory();
      fail("the segments cannot be opened", error);
      return false;
    }
  }
  if (recovery_is_late()) return false;
  apply_wipes_until({UINT64_MAX, 0}, &orphans);
  forget_orphans(orphans);
  give_back(std::exchange(orphans_charged_, 0));
  if (!ids.empty()) resume_log(static_cast<std::uint32_t>(ids.back()), last.end, std::move(records));
  read_saved_usage();
  Names names = read_names(*options_.files, options_.directory);
  measure_sidecars();
  const MutexLock lock(mutex_);
  names_.merge(std::move(names));
  recovered_ = true;
  return true;
}

// What is known of the directory, without touching it.
void DiskTier::forget_directory() noexcept {
  close_log();
  give_back(std::exchange(orphans_charged_, 0));
  Index entries;   // both are freed without the lock
  SegmentTable segments;
  const MutexLock lock(mutex_);
  catalog_.reset(entries, segments);
  recovered_ = false;
  sweep_ = {};
}

// An error: what is in it could not be read for want of something that others hold. `records`: all, or enough to see that they are many.
int DiskTier::recover_segment(std::uint32_t id, Orphans* orphans, SegmentContents* contents, std::vector<Located>* records) {
  int open_error = 0;
  const std::string path = path_of(id);
  const std::shared_ptr<file::File> file = open_files_.open(path, file::Open::kWrite, &open_error);
  if (!file && is_shortage(open_error)) return open_error;
  *contents = {};
  records->clear();
  std::uint64_t bytes = 0;
  int error = options_.files->size_of(path, &bytes);
  if (!file && error == 0) error = open_error;
  if (file && error == 0) error = read_segment_header(*file, id, contents);
  const bool good = file && error == 0 && contents->verdict == SegmentVerdict::kGood;
  const bool unknown = error == 0 && contents->verdict == SegmentVerdict::kUnknownVersion;
  std::shared_ptr<file::File> shared = good ? open_files_.share(path, file) : nullptr;
  {
    const MutexLock lock(mutex_);
    catalog_.segments().set_file(id, bytes, contents->header, std::move(shared));
  }
  if (good) {
    error = read_records(*file, contents, [&](std::span<const Located> found) {
      if (records->size() <= kFreeRecords) records->insert(records->end(), found.begin(), found.end());
      recover_records(id, found, orphans);
      return !recovery_is_late();
    });
  }
  {
    const MutexLock lock(mutex_);
    counters_.lost_bytes += contents->lost_bytes;
    if (error != 0) {
      ++counters_.read_errors;
    } else if (!good) {
      ++(unknown ? counters_.unknown_segments : counters_.damaged_segments);
    }
    if (error != 0 || unknown) catalog_.segments().add_unlisted(id, 1);   // another start may be able to read it
  }
  if (error == 0 && !good) {
    note(segment_name(id) + (unknown ? " is of another version and is ignored" : " is damaged and is dropped"));
    if (!unknown) remove_segment(id);
  } else if (error != 0) {
    note(segment_name(id) + " cannot be read: " + std::strerror(error));
  }
  return 0;
}

void DiskTier::recover_records(std::uint32_t segment, std::span<const Located> records, Orphans* orphans) {
  std::vector<EntryClass> classes;
  for (std::size_t begin = 0; begin < records.size(); begin += kSlice) {
    const auto slice = records.subspan(begin, std::min(kSlice, records.size() - begin));
    classes.clear();
    for (const Located& located : slice) {
      if (located.header.type == RecordType::kValue) classes.push_back(recovered_class(segment, located));
    }
    reserve_recovered(classes);
    reserve_orphans(orphans, classes.size());
    for (const Located& located : slice) {
      apply_wipes_until({segment, located.offset}, orphans);
      if (located.header.type == RecordType::kValue) {
        const MutexLock lock(mutex_);
        recover_value_locked(segment, located, orphans);
      } else if (located.header.type != RecordType::kErased) {
        recover_removal(segment, located.header, orphans);
      }
    }
  }
}

// Where the memory does not suffice for all, the oldest values lose their entries. Their records stay: another run may have more memory.
void DiskTier::reserve_recovered(std::span<const EntryClass> classes) {
  for (;;) {
    if (grow_index(classes) == Room::kYes) return;
    while (shrink_index(classes.size())) {
    }
    if (grow_index(classes) == Room::kYes) return;
    std::uint32_t oldest = 0;
    {
      const MutexLock lock(mutex_);
      const auto live =
          std::find_if(catalog_.segments().begin(), catalog_.segments().end(), [](const auto& segment) { return segment.second.live() > 0; });
      if (live == catalog_.segments().end()) return;
      oldest = live->first;
    }
    const std::uint64_t forgotten = forget_segment(oldest, true);
    const MutexLock lock(mutex_);
    counters_.index_full += forgotten;
  }
}

// Those for which there is no memory get no entry.
void DiskTier::reserve_orphans(Orphans* orphans, std::size_t more) {
  if (orphans->count + more <= orphans->room) return;
  const std::uint64_t bytes = more * kOrphanBytes;
  if (options_.charge && !options_.charge(bytes)) return;
  orphans_charged_ += bytes;
  orphans->room += more;
}

void DiskTier::recover_removal(std::uint32_t segment, const RecordHeader& header, Orphans* orphans) {
  {
    const MutexLock lock(mutex_);
    counters_.newest_unix_ms = std::max(counters_.newest_unix_ms, header.created_unix_ms);
    catalog_.segments().at(segment).has_removals = true;
    if (header.type == RecordType::kRemove) {
      if (const Index::Id id = catalog_.find(header.key)) catalog_.erase(id);
      // Also what hangs behind it and was read before it.
      for (const Key& child : take_orphans(orphans, header.key)) {
        if (const Index::Id id = orphan_locked(child)) catalog_.erase(id);
      }
      return;
    }
  }
  walk_index([&](Index::Id id) TC_REQUIRES(mutex_) {
    if (catalog_.index().class_of(id).owner == header.owner) catalog_.erase(id);
    return true;
  });
}

void DiskTier::recover_value_locked(std::uint32_t segment, const Located& located, Orphans* orphans) {
  const RecordHeader& header = located.header;
  counters_.newest_unix_ms = std::max(counters_.newest_unix_ms, header.created_unix_ms);
  catalog_.segments().at(segment).saw(header.created_unix_ms);
  if (ledger_.names(header)) return;
  const Place place{segment, static_cast<std::uint32_t>(located.offset / kAlignment), static_cast<std::uint32_t>(header.value_bytes)};
  const EntryClass entry_class = recovered_class(segment, located);
  Index::Id id = catalog_.find(header.key);
  if (id != Index::kNone && catalog_[id].place.value_bytes == place.value_bytes && catalog_.index().class_of(id) == entry_class) {
    catalog_.segments().add_unlisted(catalog_[id].place.segment, 1);
    catalog_.move(id, place);
  } else {
    if (id != Index::kNone) catalog_.forget(id);
    const Index::Id parent = header.chained ? catalog_.find(header.parent) : Index::kNone;
    const bool orphan = header.chained && parent == Index::kNone;
    if (catalog_.index().room() == 0 || (orphan && orphans->count >= orphans->room)) {
      catalog_.segments().add_unlisted(segment, 1);
      ++counters_.index_full;
      return;
    }
    if (orphan) {
      orphans->children[header.parent].push_back(header.key);
      ++orphans->count;
    }
    id = catalog_.insert(header.key, place, entry_class, parent);
    for (const Key& child : take_orphans(orphans, header.key)) {
      if (const Index::Id each = orphan_locked(child); each != Index::kNone && each != id) catalog_.adopt(each, id);
    }
  }
  catalog_[id].expires = header.expires_unix_ms != 0;
  catalog_.touch(id, tick_);
}

std::vector<Key> DiskTier::take_orphans(Orphans* orphans, const Key& parent) {
  auto waiting = orphans->children.extract(parent);
  if (waiting.empty()) return {};
  orphans->count -= waiting.mapped().size();
  return std::move(waiting.mapped());
}

// Its number, if it still waits for its parent: meanwhile it may have been removed, or stored anew.
Index::Id DiskTier::orphan_locked(const Key& key) const {
  const Index::Id id = catalog_.find(key);
  return id != Index::kNone && catalog_[id].parent == Index::kNone ? id : Index::kNone;
}

void DiskTier::forget_orphans(const Orphans& orphans) {
  for (const auto& [parent, children] : orphans.children) {
    for (const Key& child : children) {
      const MutexLock lock(mutex_);
      if (const Index::Id id = orphan_locked(child)) catalog_.forget(id);
    }
  }
}

// A small last segment is filled further, or every start would leave one more. Its summary is written again when it is full.
void DiskTier::resume_log(std::uint32_t id, std::uint64_t end, std::vector<Located> records) {
  if (!wipes_.empty()) return;   // what they count for ends somewhere in it, and must not begin to count for what comes now
  Log log;
  {
    const MutexLock lock(mutex_);
    Segment* const segment = catalog_.segments().find(id);
    if (segment == nullptr || !segment->file || segment->file_bytes() > segment_bytes_ / 2) return;
    log.segment = id;
    log.header = segment->header;
  }
  if (records.empty() || records.size() > kFreeRecords) return;
  int error = 0;
  log.file = open_files_.open(path_of(id), file::Open::kWrite, &error);
  if (!log.file || log.file->truncate(end) != 0) return;
  log.end = end;
  log.records = std::move(records);
  const MutexLock lock(mutex_);
  catalog_.segments().set_file_bytes(id, log.end);
  log_ = std::move(log);
}

}   // namespace tensorcache::disk
