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
  for (const std::uint64_t id : ids) recover_segment(static_cast<std::uint32_t>(id), &orphans);
  const Usage usage = read_usage(*options_.files, options_.directory);
  Names names = read_names(*options_.files, options_.directory);
  const std::lock_guard lock(mutex_);
  for (const auto& [parent, children] : orphans) {
    for (const Index::Id child : children) erase_locked(child);
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

void DiskTier::recover_segment(std::uint32_t id, Orphans* orphans) {
  int error = 0;
  std::shared_ptr<File> file = options_.files->open(path_of(id), Open::kWrite, &error);
  SegmentContents contents;
  std::uint64_t bytes = 0;
  if (file) error = file->size(&bytes);
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
    if (!good) counters_.reason = segment_name(id) + ": " + (error != 0 ? std::strerror(error) : "not readable");
    for (const Located& located : contents.records) recover_record(id, located, orphans);
  }
  if (error == 0 && !good) {
    note(segment_name(id) +
         (contents.verdict == SegmentVerdict::kUnknownVersion ? " is of another version and is ignored" : " is damaged and is dropped"));
    if (contents.verdict == SegmentVerdict::kDamaged) remove_segment(id);
  } else if (error != 0) {
    note(segment_name(id) + " cannot be read: " + std::strerror(error));
  }
}

void DiskTier::recover_record(std::uint32_t segment, const Located& located, Orphans* orphans) {
  const RecordHeader& header = located.header;
  if (header.type == RecordType::kErased) return;
  if (header.type != RecordType::kValue) {
    segments_[segment].has_removals = true;
    if (header.type == RecordType::kRemove) {
      if (const Index::Id id = index_.find(header.key)) forget_recovered(id, orphans);
      return;
    }
    std::vector<Key> doomed;
    index_.for_each([&](Index::Id id) {
      if (index_.class_of(id).owner == header.owner) doomed.push_back(index_[id].key);
    });
    for (const Key& key : doomed) {
      if (const Index::Id id = index_.find(key)) forget_recovered(id, orphans);
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
    if (id != Index::kNone) forget_recovered(id, orphans);
    const Index::Id parent = header.chained ? index_.find(header.parent) : Index::kNone;
    id = insert_locked(header.key, place, entry_class, parent);
    if (id == Index::kNone) return;
    if (header.chained && parent == Index::kNone) (*orphans)[header.parent].push_back(id);
    if (const auto waiting = orphans->find(header.key); waiting != orphans->end()) {
      for (const Index::Id child : waiting->second) index_.adopt(child, id);
      orphans->erase(waiting);
    }
  }
  index_.touch(id, tick_);
}

// An entry and all behind it; none of them waits for its parent any more.
void DiskTier::forget_recovered(Index::Id id, Orphans* orphans) {
  std::vector<Index::Id> gone;
  index_.erase(id, [&](const Index& index, Index::Id each) {
    const Place& place = index[each].place;
    counters_.value_bytes -= place.value_bytes;
    --segments_[place.segment].live;
    gone.push_back(each);
  });
  for (auto waiting = orphans->begin(); waiting != orphans->end();) {
    std::erase_if(waiting->second, [&](Index::Id each) { return std::find(gone.begin(), gone.end(), each) != gone.end(); });
    waiting = waiting->second.empty() ? orphans->erase(waiting) : std::next(waiting);
  }
}

}   // namespace tensorcache::disk
