#include "store/disk/format.h"

#include <gtest/gtest.h>

#include <random>

namespace tensorcache::disk {
namespace {

const SegmentHeader kSegment{42, 1'700'000'000'123, {0x0123456789abcdef, 0xfedcba9876543210}};

RecordHeader a_record() {
  RecordHeader header;
  header.kind = Kind::kPrefixBlock;
  header.chained = true;
  header.value_bytes = 1000;
  header.created_unix_ms = 1'700'000'000'456;
  header.expires_unix_ms = 1'700'000'900'456;
  header.owner = 7;
  header.source = 9;
  header.key = Key::of("key");
  header.parent = Key::of("parent");
  header.payload_checksum = 77;
  return header;
}

std::optional<std::vector<Located>> read_summary(std::span<const std::byte> bytes, std::uint64_t offset) {
  const auto entries = bytes.first(bytes.size() - kFooterBytes);
  SummaryCheck check(kSegment, offset);
  std::vector<Located> records;
  for (std::size_t at = 0; at < entries.size(); at += kSummaryEntryBytes) {
    check.add(entries.subspan(at, kSummaryEntryBytes));
    const auto record = decode_summary_entry(entries.subspan(at), offset);
    if (!record) return std::nullopt;
    records.push_back(*record);
  }
  return check.matches(bytes.last(kFooterBytes)) ? std::optional(records) : std::nullopt;
}

TEST(Format, WhatIsWrittenIsRead) {
  SegmentHeader segment;
  ASSERT_EQ(decode_segment_header(encode_segment_header(kSegment), &segment), SegmentVerdict::kGood);
  EXPECT_EQ(segment.id, kSegment.id);
  EXPECT_EQ(segment.created_unix_ms, kSegment.created_unix_ms);
  EXPECT_EQ(segment.salt, kSegment.salt);
  const RecordHeader header = a_record();
  EXPECT_EQ(decode_record_header(encode_record_header(header, kSegment.salt, 128), kSegment.salt, 128), header);
  const std::vector<Located> records{{128, header}, {128 + record_bytes(1000), header}};
  const std::uint64_t offset = 128 + 2 * record_bytes(1000);
  const auto summary = encode_summary(records, kSegment, offset);
  EXPECT_EQ(summary_offset(std::span(summary).last(kFooterBytes), kSegment, offset + summary.size()), offset);
  const auto read = read_summary(summary, offset);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[1].offset, records[1].offset);
  EXPECT_EQ((*read)[1].header, header);
}

TEST(Format, ARecordIsOnlyGoodWhereItWasWritten) {
  const auto bytes = encode_record_header(a_record(), kSegment.salt, 128);
  EXPECT_FALSE(decode_record_header(bytes, kSegment.salt, 192)) << "at another place";
  Salt other = kSegment.salt;
  ++other.header;
  EXPECT_FALSE(decode_record_header(bytes, other, 128)) << "in another segment";
  const std::string value = "value";
  const auto payload = std::as_bytes(std::span(value));
  EXPECT_NE(payload_checksum(payload, kSegment.salt, 128), payload_checksum(payload, kSegment.salt, 192));
}

TEST(Format, AnyBitThatChangesIsNoticed) {
  const auto record = encode_record_header(a_record(), kSegment.salt, 128);
  for (std::size_t bit = 0; bit < record.size() * 8; ++bit) {
    auto damaged = record;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(decode_record_header(damaged, kSegment.salt, 128)) << bit;
  }
  const std::vector<Located> records{{128, a_record()}};
  const std::uint64_t offset = 128 + record_bytes(1000);
  const auto summary = encode_summary(records, kSegment, offset);
  for (std::size_t bit = 0; bit < summary.size() * 8; ++bit) {
    auto damaged = summary;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto found = summary_offset(std::span(damaged).last(kFooterBytes), kSegment, offset + damaged.size());
    EXPECT_FALSE(found && read_summary(damaged, *found)) << bit;
  }
}

TEST(Format, ASegmentsHeaderSurvivesAnyOneDamage) {
  const auto good = encode_segment_header(kSegment);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto damaged = good;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    SegmentHeader segment;
    ASSERT_EQ(decode_segment_header(damaged, &segment), SegmentVerdict::kGood) << bit;
    EXPECT_EQ(segment.salt, kSegment.salt);
  }
  auto later = good;
  later[8] = later[72] = std::byte{2};
  SegmentHeader segment;
  EXPECT_EQ(decode_segment_header(later, &segment), SegmentVerdict::kUnknownVersion);
  EXPECT_EQ(decode_segment_header(SegmentHeaderBytes{}, &segment), SegmentVerdict::kDamaged);
}

TEST(Format, NamesOfSegments) {
  EXPECT_EQ(segment_name(42), "seg-000000000000002a.tcs");
  EXPECT_EQ(segment_id("seg-000000000000002a.tcs"), 42u);
  for (const char* name : {"seg-2a.tcs", "seg-000000000000002A.tcs", "seg-000000000000002a.tc", "LOCK", "seg-00000000000000-2.tcs", ""}) {
    EXPECT_FALSE(segment_id(name)) << name;
  }
}

}   // namespace
}   // namespace tensorcache::disk
