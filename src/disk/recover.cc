// At start: from the segments' summaries to the index.
#include <algorithm>
#include <cstring>
#include <limits>

#include "disk/disk_tier.h"
#include "disk/segment_reader.h"

namespace tensorcache::disk {

// Oldest first, as it was written: a later copy of a value counts, and a removal counts for what is before it. A block may come before its
// parent, which was written again since; it waits for it among the orphans.
void DiskTier::recover() {
  std::vector<std::string> files;
  if (const int error = options_.files->list(options_.directory, &files)) {
    fail("it cannot be listed", error);
    return;
  }
  recovered_ = true;
  std::vector<std::uint64_t> ids;
  for (const std::string& name : files) {
    const auto id = segment_id(name);
    if (id && *id > 0 && *id < std::numeric_limits<std::uint32_t>::max()) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());
  Orphans orphans;
  SegmentContents last;
  for (const std::uint64_t id : ids) last = recover_segment(static_cast<std::uint32_t>(id), &orphans);
  if (!ids.empty()) resume_log(static_cast<std::uint32_t>(ids.back()), std::move(last));
  const Usage usage = read_usage(*options_.files, options_.directory);
  Names names = read_names(*options_.files, options_.directory);
  const std::lock_guard lock(mutex_);
  for (const auto& [parent, children] : orphans) {
    for (const Key& child : children) {
      if (const Index::Id id = orphan_locked(child)) erase_locked(id);
    }
  }
  for (const auto& [key, hits] : usage) {
    if (const Index::Id id = index_.find(key)) {
      index_[id].hits = hits & kMostHits;
      index_[id].used = 1;
    }
  }
  names.owners.merge(names_.owners);   // those that were given since stay too
  names.sources.merge(names_.sources);
  names_changed_ |= names_ != names;
  names_ = std::move(names);
}

SegmentContents DiskTier::recover_segment(std::uint32_t id, Orphans* orphans) {
  int open_error = 0;
  std::shared_ptr<File> file = options_.files->open(path_of(id), Open::kWrite, &open_error);
  SegmentContents contents;
  std::uint64_t bytes = 0;
  int error = options_.files->size_of(path_of(id), &bytes);
  if (!file && error == 0) error = open_error;
  if (file && error == 0) error = read_segment(*file, id, &contents);
  const bool good = error == 0 && contents.verdict == SegmentVerdict::kGood;
  {
    const std::lock_guard lock(mutex_);
    Segment& segment = segments_[id];
    segment.file_bytes = bytes;
    segment.file = good ? file : nullptr;
    segment.header = contents.header;
    used_ += bytes;
    counters_.lost_bytes += contents.lost_bytes;
    if (error != 0) {
      ++counters_.read_errors;
    } else if (!good) {
      ++(contents.verdict == SegmentVerdict::kUnknownVersion ? counters_.unknown_segments : counters_.damaged_segments);
    }
    for (const Located& located : contents.records) recover_record(id, located, orphans);
  }
  if (error == 0 && !good) {
    note(segment_name(id) +
         (contents.verdict == SegmentVerdict::kUnknownVersion ? " is of another version and is ignored" : " is damaged and is dropped"));
    if (contents.verdict == SegmentVerdict::kDamaged) remove_segment(id);
  } else if (error != 0) {
    note(segment_name(id) + " cannot be read: " + std::strerror(error));
  }
  return contents;
}

void DiskTier::recover_record(std::uint32_t segment, const Located& located, Orphans* orphans) {
  const RecordHeader& header = located.header;
  counters_.newest_unix_ms = std::max(counters_.newest_unix_ms, header.created_unix_ms);
  if (header.type == RecordType::kErased) return;
  if (header.type != RecordType::kValue) {
    segments_[segment].has_removals = true;
    if (header.type == RecordType::kRemove) {
      if (const Index::Id id = index_.find(header.key)) erase_locked(id);
      return;
    }
    std::vector<Key> doomed;
    index_.for_each([&](Index::Id id) {
      if (index_.class_of(id).owner == header.owner) doomed.push_back(index_[id].key);
    });
    for (const Key& key : doomed) {
      if (const Index::Id id = index_.find(key)) erase_locked(id);
    }
    return;
  }
  if (removed_since_locked(header.key, header.owner, 0)) return;
  const Place place{segment, static_cast<std::uint32_t>(located.offset / kAlignment), static_cast<std::uint32_t>(header.value_bytes)};
  const EntryClass entry_class{header.kind, header.owner, header.source};
  Index::Id id = index_.find(header.key);
  if (id != Index::kNone && index_[id].place.value_bytes == place.value_bytes && index_.class_of(id) == entry_class) {
    move_locked(id, place);
  } else {
    if (id != Index::kNone) erase_locked(id);
    const Index::Id parent = header.chained ? index_.find(header.parent) : Index::kNone;
    id = insert_locked(header.key, place, entry_class, parent);
    if (id == Index::kNone) return;
    if (header.chained && parent == Index::kNone) (*orphans)[header.parent].push_back(header.key);
    if (const auto waiting = orphans->find(header.key); waiting != orphans->end()) {
      for (const Key& child : waiting->second) {
        if (const Index::Id orphan = orphan_locked(child); orphan != Index::kNone && orphan != id) index_.adopt(orphan, id);
      }
      orphans->erase(waiting);
    }
  }
  index_.touch(id, tick_);
}

// Its number, if it still waits for its parent: meanwhile it may have been removed, or stored anew.
Index::Id DiskTier::orphan_locked(const Key& key) const {
  const Index::Id id = index_.find(key);
  return id != Index::kNone && index_[id].parent == Index::kNone ? id : Index::kNone;
}

// A small last segment is filled further, or every start would leave one more. Its summary is written again when it is full.
void DiskTier::resume_log(std::uint32_t id, SegmentContents contents) {
  Log log;
  {
    const std::lock_guard lock(mutex_);
    const auto segment = segments_.find(id);
    if (segment == segments_.end() || !segment->second.file || segment->second.file_bytes > segment_bytes_ / 2) return;
    log.segment = id;
    log.file = segment->second.file;
    log.header = segment->second.header;
  }
  if (contents.records.empty() || log.file->truncate(contents.end) != 0) return;
  log.end = contents.end;
  log.records = std::move(contents.records);
  const std::lock_guard lock(mutex_);
  Segment& segment = segments_[id];
  used_ -= segment.file_bytes - log.end;
  segment.file_bytes = log.end;
  log_ = std::move(log);
}

}   // namespace tensorcache::disk
