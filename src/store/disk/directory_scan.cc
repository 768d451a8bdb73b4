#include "store/disk/directory_scan.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "store/disk/segment_reader.h"
#include "store/disk/selection.h"

namespace tensorcache::disk {
namespace {

// Children by parent, including those that were replaced or erased since.
using Children = std::unordered_map<Key, std::vector<Key>>;

// Erases a key and its descendants. COST: one visit per stored version of a key.
void erase_with_children(DirectoryScan* result, Children* children, const Key& key) {
  std::vector<Key> doomed{key};
  while (!doomed.empty()) {
    const Key each = doomed.back();
    doomed.pop_back();
    result->entries.erase(each);
    const auto behind = children->find(each);
    if (behind == children->end()) continue;
    for (const Key& child : behind->second) {
      const auto entry = result->entries.find(child);
      const bool still = entry != result->entries.end() && entry->second.record.header.chained && entry->second.record.header.parent == each;
      if (still) doomed.push_back(child);
    }
    children->erase(behind);
  }
}

void replay(std::uint64_t segment, const Located& record, DirectoryScan* result, Children* children) {
  const RecordHeader& header = record.header;
  switch (header.type) {
    case RecordType::kValue:
      result->entries[header.key] = {segment, record};
      if (header.chained) (*children)[header.parent].push_back(header.key);
      break;
    case RecordType::kRemove:
      erase_with_children(result, children, header.key);
      break;
    case RecordType::kClearOwner:
      std::erase_if(result->entries, [&](const auto& entry) { return entry.second.record.header.owner == header.owner; });
      break;
    case RecordType::kErased:
      break;
  }
}

// Drops values whose parent is missing: a server never finds them.
void drop_unreachable(DirectoryScan* result, Children* children) {
  std::vector<Key> missing;
  for (const auto& [parent, behind] : *children) {
    if (!result->entries.contains(parent)) missing.push_back(parent);
  }
  for (const Key& parent : missing) erase_with_children(result, children, parent);
}

// Drops deleted values that are not overwritten yet.
void drop_wiped(const std::vector<Wipe>& wipes, DirectoryScan* result, Children* children) {
  std::vector<Key> keys;
  for (const auto& [key, entry] : result->entries) {
    const LogPosition position{entry.segment, entry.record.offset};
    const bool goes =
        std::any_of(wipes.begin(), wipes.end(), [&](const Wipe& wipe) { return position < wipe.before && wipe.what.matches(entry.record.header); });
    if (goes) keys.push_back(key);
  }
  for (const Key& key : keys) erase_with_children(result, children, key);
}

std::map<std::uint64_t, std::string> segments_in(const std::vector<std::string>& names) {
  std::map<std::uint64_t, std::string> segments;
  for (const std::string& name : names) {
    if (const auto id = segment_id(name)) segments[*id] = name;
  }
  return segments;
}

}   // namespace

int scan_directory(file::FileSystem& files, const std::string& directory, DirectoryScan* result) {
  std::vector<std::string> names;
  if (const int error = files.list(directory, &names)) return error;
  result->names = read_names(files, directory);
  result->usage = read_usage(files, directory);
  Children children;
  for (const auto& [id, name] : segments_in(names)) {
    int error = 0;
    const auto file = files.open(directory + "/" + name, file::Open::kRead, &error);
    SegmentContents contents;
    std::uint64_t bytes = 0;
    if (file) error = file->size(&bytes);
    if (file && error == 0) error = read_segment_header(*file, id, &contents);
    const bool good = file && error == 0 && contents.verdict == SegmentVerdict::kGood;
    if (good) {
      error = read_records(*file, &contents, [&, id = id](std::span<const Located> records) {
        for (const Located& record : records) replay(id, record, result, &children);
        return true;
      });
    }
    if (error != 0) {
      result->unreadable.push_back(name + ": " + (error == file::kEndOfFile ? "it is shorter than it was a moment ago" : std::strerror(error)));
      continue;
    }
    ++result->segments;
    result->file_bytes += bytes;
    result->lost_bytes += contents.lost_bytes;
    if (contents.verdict == SegmentVerdict::kDamaged) result->damaged.push_back(name);
    if (contents.verdict == SegmentVerdict::kUnknownVersion) result->unknown.push_back(name);
  }
  std::vector<Wipe> wipes;
  int error = 0;
  const WipesRead read = read_wipes(files, directory, &wipes, &error);
  drop_wiped(wipes, result, &children);
  drop_unreachable(result, &children);
  if (read == WipesRead::kDamaged) result->entries.clear();                                     // the next start drops them
  if (std::find(names.begin(), names.end(), "stale") != names.end()) result->entries.clear();   // the next start drops them
  return 0;
}

Verdict verify(file::FileSystem& files, const std::string& directory, const DirectoryScan& scan, const std::function<void(float)>& progress) {
  std::vector<const ScannedEntry*> entries;
  std::uint64_t total = 0, done = 0;
  for (const auto& [key, entry] : scan.entries) {
    entries.push_back(&entry);
    total += entry.record.header.value_bytes;
  }
  std::sort(entries.begin(), entries.end(), [](const ScannedEntry* a, const ScannedEntry* b) {
    return a->segment != b->segment ? a->segment < b->segment : a->record.offset < b->record.offset;
  });
  Verdict verdict;
  std::unique_ptr<file::File> file;
  std::uint64_t open = 0;
  SegmentHeader segment;
  std::vector<std::byte> bytes;
  for (const ScannedEntry* entry : entries) {
    const std::string name = segment_name(entry->segment);
    int error = 0;
    if (open != entry->segment) {
      file = files.open(directory + "/" + name, file::Open::kRead, &error);
      SegmentHeaderBytes header{};
      if (file) error = file::read_fully(*file, 0, header);
      if (error == 0 && decode_segment_header(header, &segment) != SegmentVerdict::kGood) error = file::kEndOfFile;
      open = entry->segment;
    }
    const auto& [offset, expected] = entry->record;
    bytes.resize(kRecordHeaderBytes + expected.value_bytes);
    if (error == 0 && file) error = file::read_fully(*file, offset, bytes);
    const auto header = error == 0 && file ? decode_record_header(bytes, segment.salt, offset) : std::nullopt;
    const char* why = nullptr;
    if (error != 0 || !file) {
      why = error == file::kEndOfFile ? "it ends before the value does" : error != 0 ? std::strerror(error) : "its segment cannot be opened";
    } else if (!header || *header != expected) {
      why = "the record's header is damaged";
    } else if (header->payload_checksum != payload_checksum(std::span(bytes).subspan(kRecordHeaderBytes), segment.salt, offset)) {
      why = "the value is damaged";
    }
    if (why != nullptr) {
      verdict.bad.push_back(name + " at " + std::to_string(offset) + ": " + why);
    } else {
      ++verdict.values;
      verdict.value_bytes += expected.value_bytes;
    }
    done += expected.value_bytes;
    if (progress && total > 0) progress(static_cast<float>(done) / static_cast<float>(total));
  }
  return verdict;
}

}   // namespace tensorcache::disk
