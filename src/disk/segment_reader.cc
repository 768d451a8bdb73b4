#include "disk/segment_reader.h"

#include <algorithm>

namespace tensorcache::disk {
namespace {

constexpr std::size_t kWindowBytes = 64 << 10;

int read_summary(File& file, std::uint64_t file_bytes, SegmentContents* contents) {
  if (file_bytes < kSegmentHeaderBytes + kFooterBytes) return 0;
  std::vector<std::byte> footer(kFooterBytes);
  if (const int error = read_fully(file, file_bytes - kFooterBytes, footer)) return error;
  const auto offset = summary_offset(footer, contents->header, file_bytes);
  if (!offset) return 0;
  std::vector<std::byte> summary(file_bytes - *offset);
  if (const int error = read_fully(file, *offset, summary)) return error;
  if (auto records = decode_summary(summary, contents->header, *offset)) {
    contents->records = std::move(*records);
    contents->from_summary = true;
    contents->end = *offset;
  }
  return 0;
}

// A window over the file, moved as needed.
class Window {
 public:
  Window(File& file, std::uint64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}
  // The record header's bytes at `offset`; `sequential` reads on behind them too.
  int at(std::uint64_t offset, bool sequential, std::span<const std::byte>* bytes) {
    if (offset < begin_ || offset + kRecordHeaderBytes > begin_ + bytes_.size()) {
      bytes_.resize(std::min<std::uint64_t>(sequential ? kWindowBytes : kRecordHeaderBytes, file_bytes_ - offset));
      begin_ = offset;
      if (const int error = read_fully(file_, offset, bytes_)) return error;
    }
    *bytes = std::span(bytes_).subspan(offset - begin_, kRecordHeaderBytes);
    return 0;
  }

 private:
  File& file_;
  const std::uint64_t file_bytes_;
  std::uint64_t begin_ = 0;
  std::vector<std::byte> bytes_;
};

int walk(File& file, std::uint64_t file_bytes, SegmentContents* contents) {
  Window window(file, file_bytes);
  std::uint64_t offset = kSegmentHeaderBytes;
  bool lost = false;
  contents->end = offset;
  while (offset + kRecordHeaderBytes <= file_bytes) {
    std::span<const std::byte> bytes;
    if (const int error = window.at(offset, lost, &bytes)) return error;
    const auto header = decode_record_header(bytes, contents->header.salt, offset);
    const bool whole = header && header->value_bytes <= file_bytes && offset + record_bytes(header->value_bytes) <= file_bytes;
    if (whole) {
      contents->records.push_back({offset, *header});
      offset += record_bytes(header->value_bytes);
      contents->end = offset;
    } else {   // the next one begins at some multiple of the alignment
      contents->lost_bytes += kAlignment;
      offset += kAlignment;
    }
    lost = !whole;
  }
  return 0;
}

}   // namespace

int read_segment(File& file, std::uint64_t id, SegmentContents* contents) {
  *contents = {};
  std::uint64_t file_bytes = 0;
  if (const int error = file.size(&file_bytes)) return error;
  if (file_bytes < kSegmentHeaderBytes) return 0;
  SegmentHeaderBytes header{};
  if (const int error = read_fully(file, 0, header)) return error;
  contents->verdict = decode_segment_header(header, &contents->header);
  if (contents->verdict == SegmentVerdict::kGood && contents->header.id != id) contents->verdict = SegmentVerdict::kDamaged;   // another's file
  if (contents->verdict != SegmentVerdict::kGood) return 0;
  if (const int error = read_summary(file, file_bytes, contents)) return error;
  return contents->from_summary ? 0 : walk(file, file_bytes, contents);
}

}   // namespace tensorcache::disk
