#include "store/disk/segment_table.h"

namespace tensorcache::disk {

Segment* SegmentTable::find(Id id) {
  const auto found = segments_.find(id);
  return found == segments_.end() ? nullptr : &found->second;
}

const Segment* SegmentTable::find(Id id) const {
  const auto found = segments_.find(id);
  return found == segments_.end() ? nullptr : &found->second;
}

Segment& SegmentTable::set_file(Id id, std::uint64_t file_bytes, const SegmentHeader& header, std::shared_ptr<file::File> file) {
  Segment& segment = segments_[id];
  segment.file = std::move(file);
  segment.header = header;
  file_bytes_ += file_bytes - segment.file_bytes_;
  segment.file_bytes_ = file_bytes;
  return segment;
}

void SegmentTable::set_file_bytes(Id id, std::uint64_t bytes) {
  Segment& segment = segments_.at(id);
  file_bytes_ += bytes - segment.file_bytes_;
  segment.file_bytes_ = bytes;
}

void SegmentTable::drop_live(Id id) noexcept {
  if (Segment* const segment = find(id)) --segment->live_;
}

void SegmentTable::add_unlisted(Id id, std::uint64_t records) noexcept {
  Segment* const segment = find(id);
  if (segment == nullptr) return;
  segment->unlisted_ += records;
  unlisted_ += records;
}

void SegmentTable::drop_all_live() noexcept {
  for (auto& [id, segment] : segments_) segment.live_ = 0;
}

std::shared_ptr<file::File> SegmentTable::erase(Id id) noexcept {
  const auto found = segments_.find(id);
  if (found == segments_.end()) return nullptr;
  unlisted_ -= found->second.unlisted_;
  file_bytes_ -= found->second.file_bytes_;
  std::shared_ptr<file::File> file = std::move(found->second.file);
  segments_.erase(found);
  return file;
}

}   // namespace tensorcache::disk
