#include "store/disk/segment_reader.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace tensorcache::disk {
namespace {

constexpr std::size_t kWindowBytes = 64 << 10;
constexpr std::size_t kMaxRecords = 2048;   // per call of `visit`

// Reads the entries of a summary in pieces. `use` is called with entries and their bytes; it
// returns false to stop.
template <class Use>
int each_piece(file::File& file, std::uint64_t begin, std::uint64_t end, std::vector<std::byte>* buffer, const Use& use) {
  for (std::uint64_t at = begin; at < end; at += buffer->size()) {
    const bool kept = begin + buffer->size() == end;   // the buffer holds all of them already
    if (!kept) {
      buffer->resize(std::min<std::uint64_t>(kMaxRecords * kSummaryEntryBytes, end - at));
      if (const int error = file::read_fully(file, at, *buffer)) return error;
    }
    if (!use(std::span<const std::byte>(*buffer))) return 0;
  }
  return 0;
}

int read_summary(file::File& file, std::uint64_t file_bytes, SegmentContents* contents, const VisitRecords& visit) {
  if (file_bytes < kSegmentHeaderBytes + kFooterBytes) return 0;
  std::vector<std::byte> footer(kFooterBytes);
  if (const int error = file::read_fully(file, file_bytes - kFooterBytes, footer)) return error;
  const auto offset = summary_offset(footer, contents->header, file_bytes);
  if (!offset) return 0;
  const std::uint64_t end = file_bytes - kFooterBytes;
  std::vector<std::byte> buffer;
  SummaryCheck check(contents->header, *offset);
  bool good = true;
  const auto inspect = [&](std::span<const std::byte> bytes) {
    check.add(bytes);
    for (std::size_t at = 0; good && at < bytes.size(); at += kSummaryEntryBytes) good = decode_summary_entry(bytes.subspan(at), *offset).has_value();
    return good;
  };
  if (const int error = each_piece(file, *offset, end, &buffer, inspect)) return error;
  if (!good || !check.matches(footer)) return 0;
  contents->from_summary = true;
  contents->end = *offset;
  std::vector<Located> records;
  return each_piece(file, *offset, end, &buffer, [&](std::span<const std::byte> bytes) {
    records.clear();
    for (std::size_t at = 0; at < bytes.size(); at += kSummaryEntryBytes) {
      if (const auto record = decode_summary_entry(bytes.subspan(at), *offset)) records.push_back(*record);
    }
    return visit(records);
  });
}

// A window over the file that moves as needed.
class Window {
 public:
  Window(file::File& file, std::uint64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}
  // Gets the bytes of the record header at `offset`; `sequential`: reads ahead.
  int at(std::uint64_t offset, bool sequential, std::span<const std::byte>* bytes) {
    if (offset < begin_ || offset + kRecordHeaderBytes > begin_ + bytes_.size()) {
      bytes_.resize(std::min<std::uint64_t>(sequential ? kWindowBytes : kRecordHeaderBytes, file_bytes_ - offset));
      begin_ = offset;
      if (const int error = file::read_fully(file_, offset, bytes_)) return error;
    }
    *bytes = std::span(bytes_).subspan(offset - begin_, kRecordHeaderBytes);
    return 0;
  }

 private:
  file::File& file_;
  const std::uint64_t file_bytes_;
  std::uint64_t begin_ = 0;
  std::vector<std::byte> bytes_;
};

int walk(file::File& file, std::uint64_t file_bytes, SegmentContents* contents, const VisitRecords& visit) {
  Window window(file, file_bytes);
  std::vector<Located> records;
  std::uint64_t offset = kSegmentHeaderBytes;
  bool lost = false, more = true;
  contents->end = offset;
  while (more && offset + kRecordHeaderBytes <= file_bytes) {
    std::span<const std::byte> bytes;
    if (const int error = window.at(offset, lost, &bytes)) return error;
    const auto header = decode_record_header(bytes, contents->header.salt, offset);
    const bool whole = header && header->value_bytes <= file_bytes && offset + record_bytes(header->value_bytes) <= file_bytes;
    if (whole) {
      records.push_back({offset, *header});
      offset += record_bytes(header->value_bytes);
      contents->end = offset;
    } else {   // the next record begins at some multiple of the alignment
      contents->lost_bytes += kAlignment;
      offset += kAlignment;
    }
    lost = !whole;
    if (records.size() == kMaxRecords) {
      more = visit(records);
      records.clear();
    }
  }
  if (more && !records.empty()) static_cast<void>(visit(records));
  return 0;
}

}   // namespace

int read_segment_header(file::File& file, std::uint64_t id, SegmentContents* contents) {
  *contents = {};
  std::uint64_t file_bytes = 0;
  if (const int error = file.size(&file_bytes)) return error;
  if (file_bytes < kSegmentHeaderBytes) return 0;
  SegmentHeaderBytes header{};
  if (const int error = file::read_fully(file, 0, header)) return error;
  contents->verdict = decode_segment_header(header, &contents->header);
  if (contents->verdict == SegmentVerdict::kGood && contents->header.id != id) contents->verdict = SegmentVerdict::kDamaged;   // a renamed file
  return 0;
}

int read_records(file::File& file, SegmentContents* contents, const VisitRecords& visit) {
  std::uint64_t file_bytes = 0;
  if (const int error = file.size(&file_bytes)) return error;
  if (const int error = read_summary(file, file_bytes, contents, visit)) return error;
  return contents->from_summary ? 0 : walk(file, file_bytes, contents, visit);
}

}   // namespace tensorcache::disk
