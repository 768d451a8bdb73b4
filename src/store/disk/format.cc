#include "store/disk/format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace tensorcache::disk {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little endian, and so far are all machines it was tried on");

constexpr std::string_view kSegmentMagic = "TCACHSEG", kFooterMagic = "TCACHSUM";
constexpr std::uint32_t kRecordMagic = 0x43455254;   // "TREC"
constexpr std::uint8_t kChained = 1, kOverwritten = 1;

template <class T>
void put(std::span<std::byte> bytes, std::size_t at, const T& value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}
template <class T>
T get(std::span<const std::byte> bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::uint64_t checksum(std::span<const std::byte> bytes, std::uint64_t seed) { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }

// Encodes the fields shared by record headers and summary entries: bytes [4, 112).
void put_fields(std::span<std::byte> bytes, const RecordHeader& header) {
  put(bytes, 4, header.type);
  put(bytes, 5, header.kind);
  put(bytes, 6, header.chained ? kChained : std::uint8_t{0});
  put(bytes, 7, header.overwritten ? kOverwritten : std::uint8_t{0});
  put(bytes, 8, header.value_bytes);
  put(bytes, 16, header.created_unix_ms);
  put(bytes, 24, header.expires_unix_ms);
  put(bytes, 32, header.owner);
  put(bytes, 40, header.source);
  put(bytes, 48, header.key.bytes);
  put(bytes, 80, header.parent.bytes);
}

std::optional<RecordHeader> get_fields(std::span<const std::byte> bytes) {
  RecordHeader header;
  const auto type = get<std::uint8_t>(bytes, 4), kind = get<std::uint8_t>(bytes, 5), flags = get<std::uint8_t>(bytes, 6);
  if (type < 1 || type > 4 || kind >= kKindCount || flags > kChained) return std::nullopt;
  header.type = static_cast<RecordType>(type);
  header.kind = static_cast<Kind>(kind);
  header.chained = flags == kChained;
  header.overwritten = header.type == RecordType::kErased && get<std::uint8_t>(bytes, 7) == kOverwritten;
  header.value_bytes = get<std::uint64_t>(bytes, 8);
  header.created_unix_ms = get<std::int64_t>(bytes, 16);
  header.expires_unix_ms = get<std::int64_t>(bytes, 24);
  header.owner = get<std::uint64_t>(bytes, 32);
  header.source = get<std::uint64_t>(bytes, 40);
  header.key.bytes = get<decltype(Key::bytes)>(bytes, 48);
  header.parent.bytes = get<decltype(Key::bytes)>(bytes, 80);
  return header;
}

}   // namespace

// Written twice, because no record can be read without the salt.
SegmentHeaderBytes encode_segment_header(const SegmentHeader& header) {
  SegmentHeaderBytes bytes{};
  const std::span<std::byte> copy = std::span(bytes).first(kSegmentHeaderBytes / 2);
  std::memcpy(copy.data(), kSegmentMagic.data(), kSegmentMagic.size());
  put(copy, 8, kFormatVersion);
  put(copy, 16, header.id);
  put(copy, 24, header.created_unix_ms);
  put(copy, 32, header.salt.header);
  put(copy, 40, header.salt.payload);
  put(copy, 56, checksum(copy.first(56), 0));
  std::memcpy(bytes.data() + copy.size(), copy.data(), copy.size());
  return bytes;
}

SegmentVerdict decode_segment_header(std::span<const std::byte> bytes, SegmentHeader* header) {
  if (bytes.size() < kSegmentHeaderBytes) return SegmentVerdict::kDamaged;
  int unknown = 0;
  for (const auto copy : {bytes.first(kSegmentHeaderBytes / 2), bytes.subspan(kSegmentHeaderBytes / 2, kSegmentHeaderBytes / 2)}) {
    if (std::memcmp(copy.data(), kSegmentMagic.data(), kSegmentMagic.size()) != 0) continue;
    if (get<std::uint32_t>(copy, 8) != kFormatVersion) {
      ++unknown;
    } else if (get<std::uint64_t>(copy, 56) == checksum(copy.first(56), 0)) {
      *header = {get<std::uint64_t>(copy, 16), get<std::int64_t>(copy, 24), {get<std::uint64_t>(copy, 32), get<std::uint64_t>(copy, 40)}};
      return SegmentVerdict::kGood;
    }
  }
  // The layout of other versions is unknown, including the place of the checksum and the second
  // copy.
  return unknown > 0 ? SegmentVerdict::kUnknownVersion : SegmentVerdict::kDamaged;
}

std::uint64_t payload_checksum(std::span<const std::byte> payload, const Salt& salt, std::uint64_t offset) {
  return checksum(payload, salt.payload + offset);
}

RecordHeaderBytes encode_record_header(const RecordHeader& header, const Salt& salt, std::uint64_t offset) {
  RecordHeaderBytes bytes{};
  put(bytes, 0, kRecordMagic);
  put_fields(bytes, header);
  put(bytes, 112, header.payload_checksum);
  put(bytes, 120, checksum(std::span(bytes).first(120), salt.header + offset));
  return bytes;
}

std::optional<RecordHeader> decode_record_header(std::span<const std::byte> bytes, const Salt& salt, std::uint64_t offset) {
  if (bytes.size() < kRecordHeaderBytes || get<std::uint32_t>(bytes, 0) != kRecordMagic) return std::nullopt;
  if (get<std::uint64_t>(bytes, 120) != checksum(bytes.first(120), salt.header + offset)) return std::nullopt;
  std::optional<RecordHeader> header = get_fields(bytes);
  if (header) header->payload_checksum = get<std::uint64_t>(bytes, 112);
  return header;
}

std::vector<std::byte> encode_summary(std::span<const Located> records, const SegmentHeader& segment, std::uint64_t offset) {
  std::vector<std::byte> bytes(summary_bytes(records.size()));
  for (std::size_t i = 0; i < records.size(); ++i) {
    const std::span<std::byte> entry = std::span(bytes).subspan(i * kSummaryEntryBytes, kSummaryEntryBytes);
    put_fields(entry, records[i].header);
    put(entry, 112, records[i].header.payload_checksum);
    put(entry, 120, records[i].offset);
  }
  const std::size_t entries_bytes = records.size() * kSummaryEntryBytes;
  const std::span<std::byte> footer = std::span(bytes).subspan(entries_bytes);
  std::memcpy(footer.data(), kFooterMagic.data(), kFooterMagic.size());
  put(footer, 8, kFormatVersion);
  put(footer, 16, segment.id);
  put(footer, 24, offset);
  put(footer, 32, std::uint64_t{records.size()});
  put(footer, 40, checksum(std::span(bytes).first(entries_bytes), segment.salt.header + offset));
  put(footer, 56, checksum(footer.first(56), segment.salt.header));
  return bytes;
}

std::optional<std::uint64_t> summary_offset(std::span<const std::byte> footer, const SegmentHeader& segment, std::uint64_t file_bytes) {
  if (footer.size() != kFooterBytes || std::memcmp(footer.data(), kFooterMagic.data(), kFooterMagic.size()) != 0) return std::nullopt;
  if (get<std::uint64_t>(footer, 56) != checksum(footer.first(56), segment.salt.header)) return std::nullopt;
  if (get<std::uint32_t>(footer, 8) != kFormatVersion || get<std::uint64_t>(footer, 16) != segment.id) return std::nullopt;
  const auto offset = get<std::uint64_t>(footer, 24), count = get<std::uint64_t>(footer, 32);
  const bool fits = offset >= kSegmentHeaderBytes && offset <= file_bytes && count <= file_bytes / kSummaryEntryBytes &&
                    offset + summary_bytes(count) == file_bytes;
  return fits ? std::optional(offset) : std::nullopt;
}

std::optional<Located> decode_summary_entry(std::span<const std::byte> bytes, std::uint64_t summary_offset) {
  if (bytes.size() < kSummaryEntryBytes) return std::nullopt;
  std::optional<RecordHeader> header = get_fields(bytes);
  if (!header) return std::nullopt;
  header->payload_checksum = get<std::uint64_t>(bytes, 112);
  const auto offset = get<std::uint64_t>(bytes, 120);
  const bool fits = offset % kAlignment == 0 && offset >= kSegmentHeaderBytes && offset <= summary_offset && header->value_bytes <= summary_offset &&
                    offset + record_bytes(header->value_bytes) <= summary_offset;
  return fits ? std::optional(Located{offset, *header}) : std::nullopt;
}

struct SummaryCheck::State {
  XXH3_state_t checksum;
};

SummaryCheck::SummaryCheck(const SegmentHeader& segment, std::uint64_t summary_offset) : state_(std::make_unique<State>()) {
  XXH3_INITSTATE(&state_->checksum);
  static_cast<void>(XXH3_64bits_reset_withSeed(&state_->checksum, segment.salt.header + summary_offset));
}

SummaryCheck::~SummaryCheck() = default;

void SummaryCheck::add(std::span<const std::byte> entries) {
  static_cast<void>(XXH3_64bits_update(&state_->checksum, entries.data(), entries.size()));
}

bool SummaryCheck::matches(std::span<const std::byte> footer) const {
  return footer.size() == kFooterBytes && get<std::uint64_t>(footer, 40) == XXH3_64bits_digest(&state_->checksum);
}

std::string segment_name(std::uint64_t id) {
  char name[32];
  std::snprintf(name, sizeof name, "seg-%016llx.tcs", static_cast<unsigned long long>(id));
  return name;
}

std::optional<std::uint64_t> segment_id(std::string_view name) {
  constexpr std::size_t kDigits = 16;
  if (name.size() != 4 + kDigits + 4 || !name.starts_with("seg-") || !name.ends_with(".tcs")) return std::nullopt;
  std::uint64_t id = 0;
  const char* const end = name.data() + 4 + kDigits;
  const auto [rest, error] = std::from_chars(name.data() + 4, end, id, 16);
  return error == std::errc() && rest == end && name == segment_name(id) ? std::optional(id) : std::nullopt;
}

}   // namespace tensorcache::disk
