// Encodes and decodes segment files. docs/format-disk.md specifies the format; version 1 is frozen.
//
// Pure functions: decoding returns nothing for invalid bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensorcache/types.h"
#include "tensorcache/key.h"

namespace tensorcache::disk {

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::size_t kSegmentHeaderBytes = 128, kRecordHeaderBytes = 128, kSummaryEntryBytes = 128, kFooterBytes = 64;
inline constexpr std::size_t kAlignment = 64;   // of every record, and so of every value

// Random numbers of one segment, part of all its checksums. Bytes of another segment, or a record
// that a client forged inside a value, do not pass the check.
struct Salt {
  std::uint64_t header = 0, payload = 0;
  friend bool operator==(const Salt&, const Salt&) = default;
};

struct SegmentHeader {
  std::uint64_t id = 0;   // ascending in the order of creation
  std::int64_t created_unix_ms = 0;
  Salt salt;
};

enum class RecordType : std::uint8_t {
  kValue = 1,
  kRemove = 2,       // removes `key` and its descendants
  kClearOwner = 3,   // removes all entries of `owner`
  kErased = 4,       // a removed or replaced value; written over its header
};

struct RecordHeader {
  RecordType type = RecordType::kValue;
  Kind kind = Kind::kOther;
  bool chained = false;       // `parent` is set
  bool overwritten = false;   // of an erased record: its value is overwritten, too
  std::uint64_t value_bytes = 0;
  std::int64_t created_unix_ms = 0;
  std::int64_t expires_unix_ms = 0;   // 0: never
  std::uint64_t owner = 0;
  std::uint64_t source = 0;
  Key key;
  Key parent;
  std::uint64_t payload_checksum = 0;
  friend bool operator==(const RecordHeader&, const RecordHeader&) = default;
};

// A record's offset and its header.
struct Located {
  std::uint64_t offset = 0;
  RecordHeader header;
};

// RETURNS the size of a record in the file.
[[nodiscard]] constexpr std::uint64_t record_bytes(std::uint64_t value_bytes) {
  return kRecordHeaderBytes + (value_bytes + kAlignment - 1) / kAlignment * kAlignment;
}
[[nodiscard]] constexpr std::uint64_t summary_bytes(std::uint64_t records) { return records * kSummaryEntryBytes + kFooterBytes; }

using SegmentHeaderBytes = std::array<std::byte, kSegmentHeaderBytes>;
using RecordHeaderBytes = std::array<std::byte, kRecordHeaderBytes>;

[[nodiscard]] SegmentHeaderBytes encode_segment_header(const SegmentHeader& header);
enum class SegmentVerdict : std::uint8_t { kGood, kDamaged, kUnknownVersion };
[[nodiscard]] SegmentVerdict decode_segment_header(std::span<const std::byte> bytes, SegmentHeader* header);

[[nodiscard]] std::uint64_t payload_checksum(std::span<const std::byte> payload, const Salt& salt, std::uint64_t offset);
[[nodiscard]] RecordHeaderBytes encode_record_header(const RecordHeader& header, const Salt& salt, std::uint64_t offset);
[[nodiscard]] std::optional<RecordHeader> decode_record_header(std::span<const std::byte> bytes, const Salt& salt, std::uint64_t offset);

// A summary follows the last record of a sealed segment: one entry per record, then the footer at
// the end of the file.
[[nodiscard]] std::vector<std::byte> encode_summary(std::span<const Located> records, const SegmentHeader& segment, std::uint64_t offset);
// RETURNS the offset of the summary, from the footer (the file's last kFooterBytes); nothing if the
// footer is invalid.
[[nodiscard]] std::optional<std::uint64_t> summary_offset(std::span<const std::byte> footer, const SegmentHeader& segment, std::uint64_t file_bytes);
// Decodes one summary entry; nothing if it is not valid before a summary at `summary_offset`.
// REQUIRES: use entries only if all of them match the footer (SummaryCheck).
[[nodiscard]] std::optional<Located> decode_summary_entry(std::span<const std::byte> bytes, std::uint64_t summary_offset);

// Checks that summary entries, given in pieces, match their footer.
class SummaryCheck {
 public:
  SummaryCheck(const SegmentHeader& segment, std::uint64_t summary_offset);
  ~SummaryCheck();
  SummaryCheck(const SummaryCheck&) = delete;
  SummaryCheck& operator=(const SummaryCheck&) = delete;
  void add(std::span<const std::byte> entries);
  [[nodiscard]] bool matches(std::span<const std::byte> footer) const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

// Converts an id to "seg-000000000000002a.tcs" and back; nothing for other names.
[[nodiscard]] std::string segment_name(std::uint64_t id);
[[nodiscard]] std::optional<std::uint64_t> segment_id(std::string_view name);

}   // namespace tensorcache::disk
