#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "store/disk/recovery.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kSlice = 1024;          // records processed per reservation of memory
constexpr std::size_t kFreeOrphans = 4096;    // values waiting for their parent that are not charged
constexpr std::uint64_t kOrphanBytes = 144;   // per orphan with a parent of its own

bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM; }

}   // namespace

// Reads the segments oldest first, in the order of writing: a later copy of a value wins, and a
// removal applies to earlier records. A rewritten parent may follow its child, which waits as an
// orphan meanwhile. RETURNS false if nothing was indexed and recovery must be retried.
bool Recovery::recover() {
  forget_directory();
  std::vector<std::string> files;
  if (const int error = state_.options.files->list(state_.options.directory, &files)) {
    state_.fail("the directory cannot be listed", error);
    return false;
  }
  std::vector<std::uint64_t> ids;
  for (const std::string& name : files) {
    const auto id = segment_id(name);
    if (id && *id > 0 && *id < std::numeric_limits<std::uint32_t>::max()) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());
  if (!ids.empty()) log_.set_last_segment(static_cast<std::uint32_t>(ids.back()));
  if (const int error = recover_wipes(files, &ids)) {
    state_.fail("removed values cannot be dropped", error);
    return false;
  }
  Orphans orphans;
  orphans.room = kFreeOrphans;
  SegmentContents last;
  std::vector<Located> records;
  for (const std::uint64_t id : ids) {
    if (state_.recovery_is_late()) return false;
    if (const int error = recover_segment(static_cast<std::uint32_t>(id), &orphans, &last, &records)) {
      forget_directory();
      state_.fail("the segments cannot be opened", error);
      return false;
    }
  }
  if (state_.recovery_is_late()) return false;
  apply_wipes_until({UINT64_MAX, 0}, &orphans);
  forget_orphans(orphans);
  state_.give_back(std::exchange(orphans_charged_, 0));
  // Pending wipes apply to records before a position in the last segment; new records must not be
  // written before it.
  if (!ids.empty() && scrubber_.wipes().empty()) log_.resume_log(static_cast<std::uint32_t>(ids.back()), last.end, std::move(records));
  side_files_.read_saved_usage();
  Names names = read_names(*state_.options.files, state_.options.directory);
  side_files_.measure_sidecars();
  const MutexLock lock(state_.mutex);
  state_.names.merge(std::move(names));
  state_.recovered = true;
  return true;
}

void Recovery::forget_directory() noexcept {
  log_.forget_directory();
  state_.give_back(std::exchange(orphans_charged_, 0));
  scrubber_.restart();
}

// RETURNS an error if the segment could not be read for lack of a resource. `records` receives all
// its records, or enough to show that there are many.
int Recovery::recover_segment(std::uint32_t id, Orphans* orphans, SegmentContents* contents, std::vector<Located>* records) {
  int open_error = 0;
  const std::string path = directory_.path_of(id);
  const std::shared_ptr<file::File> file = state_.open_files.open(path, file::Open::kWrite, &open_error);
  if (!file && is_shortage(open_error)) return open_error;
  *contents = {};
  records->clear();
  std::uint64_t bytes = 0;
  int error = state_.options.files->size_of(path, &bytes);
  if (!file && error == 0) error = open_error;
  if (file && error == 0) error = read_segment_header(*file, id, contents);
  const bool good = file && error == 0 && contents->verdict == SegmentVerdict::kGood;
  const bool unknown = error == 0 && contents->verdict == SegmentVerdict::kUnknownVersion;
  std::shared_ptr<file::File> shared = good ? state_.open_files.share(path, file) : nullptr;
  {
    const MutexLock lock(state_.mutex);
    state_.catalog.segments().set_file(id, bytes, contents->header, std::move(shared));
  }
  if (good) {
    error = read_records(*file, contents, [&](std::span<const Located> found) {
      if (records->size() <= SegmentLog::kFreeRecords) records->insert(records->end(), found.begin(), found.end());
      recover_records(id, found, orphans);
      return !state_.recovery_is_late();
    });
  }
  {
    const MutexLock lock(state_.mutex);
    state_.counters.lost_bytes += contents->lost_bytes;
    if (error != 0) {
      ++state_.counters.read_errors;
    } else if (!good) {
      ++(unknown ? state_.counters.unknown_segments : state_.counters.damaged_segments);
    }
    if (error != 0 || unknown) state_.catalog.segments().add_unlisted(id, 1);   // another start may be able to read it
  }
  if (error == 0 && !good) {
    state_.note(segment_name(id) + (unknown ? " has an unknown format version and is ignored" : " is damaged and is dropped"));
    if (!unknown) log_.remove_segment(id);
  } else if (error != 0) {
    state_.note(segment_name(id) + " cannot be read: " + std::strerror(error));
  }
  return 0;
}

void Recovery::recover_records(std::uint32_t segment, std::span<const Located> records, Orphans* orphans) {
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
        const MutexLock lock(state_.mutex);
        recover_value_locked(segment, located, orphans);
      } else if (located.header.type != RecordType::kErased) {
        recover_removal(segment, located.header, orphans);
      }
    }
  }
}

// If memory does not suffice for all entries, the oldest values lose theirs. Their records stay,
// because another start may have more memory.
void Recovery::reserve_recovered(std::span<const EntryClass> classes) {
  for (;;) {
    if (log_.grow_index(classes) == SegmentLog::Room::kYes) return;
    while (log_.shrink_index(classes.size())) {
    }
    if (log_.grow_index(classes) == SegmentLog::Room::kYes) return;
    std::uint32_t oldest = 0;
    {
      const MutexLock lock(state_.mutex);
      const auto live = std::find_if(state_.catalog.segments().begin(), state_.catalog.segments().end(),
                                     [](const auto& segment) { return segment.second.live() > 0; });
      if (live == state_.catalog.segments().end()) return;
      oldest = live->first;
    }
    const std::uint64_t forgotten = state_.forget_segment(oldest, true);
    const MutexLock lock(state_.mutex);
    state_.counters.index_full += forgotten;
  }
}

// Orphans without memory get no entry.
void Recovery::reserve_orphans(Orphans* orphans, std::size_t more) {
  if (orphans->count + more <= orphans->room) return;
  const std::uint64_t bytes = more * kOrphanBytes;
  if (state_.options.charge && !state_.options.charge(bytes)) return;
  orphans_charged_ += bytes;
  orphans->room += more;
}

void Recovery::recover_removal(std::uint32_t segment, const RecordHeader& header, Orphans* orphans) {
  {
    const MutexLock lock(state_.mutex);
    state_.counters.newest_unix_ms = std::max(state_.counters.newest_unix_ms, header.created_unix_ms);
    state_.catalog.segments().at(segment).has_removals = true;
    if (header.type == RecordType::kRemove) {
      if (const Index::Id id = state_.catalog.find(header.key)) state_.catalog.erase(id);
      // Indexes its descendants that were read before it, too.
      for (const Key& child : take_orphans(orphans, header.key)) {
        if (const Index::Id id = orphan_locked(child)) state_.catalog.erase(id);
      }
      return;
    }
  }
  state_.walk_index([&](Index::Id id) TC_REQUIRES(state_.mutex) {
    if (state_.catalog.index().class_of(id).owner == header.owner) state_.catalog.erase(id);
    return true;
  });
}

void Recovery::recover_value_locked(std::uint32_t segment, const Located& located, Orphans* orphans) {
  const RecordHeader& header = located.header;
  state_.counters.newest_unix_ms = std::max(state_.counters.newest_unix_ms, header.created_unix_ms);
  state_.catalog.segments().at(segment).saw(header.created_unix_ms);
  if (state_.ledger.names(header)) return;
  const Place place{segment, static_cast<std::uint32_t>(located.offset / kAlignment), static_cast<std::uint32_t>(header.value_bytes)};
  const EntryClass entry_class = recovered_class(segment, located);
  Index::Id id = state_.catalog.find(header.key);
  if (id != Index::kNone && state_.catalog[id].place.value_bytes == place.value_bytes && state_.catalog.index().class_of(id) == entry_class) {
    state_.catalog.segments().add_unlisted(state_.catalog[id].place.segment, 1);
    state_.catalog.move(id, place);
  } else {
    if (id != Index::kNone) state_.catalog.forget(id);
    const Index::Id parent = header.chained ? state_.catalog.find(header.parent) : Index::kNone;
    const bool orphan = header.chained && parent == Index::kNone;
    if (state_.catalog.index().room() == 0 || (orphan && orphans->count >= orphans->room)) {
      state_.catalog.segments().add_unlisted(segment, 1);
      ++state_.counters.index_full;
      return;
    }
    if (orphan) {
      orphans->children[header.parent].push_back(header.key);
      ++orphans->count;
    }
    id = state_.catalog.insert(header.key, place, entry_class, parent);
    for (const Key& child : take_orphans(orphans, header.key)) {
      if (const Index::Id each = orphan_locked(child); each != Index::kNone && each != id) state_.catalog.adopt(each, id);
    }
  }
  state_.catalog[id].expires = header.expires_unix_ms != 0;
  state_.catalog.touch(id, state_.tick);
}

std::vector<Key> Recovery::take_orphans(Orphans* orphans, const Key& parent) {
  auto waiting = orphans->children.extract(parent);
  if (waiting.empty()) return {};
  orphans->count -= waiting.mapped().size();
  return std::move(waiting.mapped());
}

// RETURNS the entry of a key if it still waits for its parent: it may have been removed, or stored
// anew, meanwhile.
Index::Id Recovery::orphan_locked(const Key& key) const {
  const Index::Id id = state_.catalog.find(key);
  return id != Index::kNone && state_.catalog[id].parent == Index::kNone ? id : Index::kNone;
}

void Recovery::forget_orphans(const Orphans& orphans) {
  for (const auto& [parent, children] : orphans.children) {
    for (const Key& child : children) {
      const MutexLock lock(state_.mutex);
      if (const Index::Id id = orphan_locked(child)) state_.catalog.forget(id);
    }
  }
}

}   // namespace tensorcache::disk
