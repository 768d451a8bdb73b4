#include "store/disk/segment_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "testing/store/log_parts.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

std::optional<RecordHeader> header_at(const LogParts& parts, const Place& place) {
  const std::vector<std::byte> file = parts.file_of(place.segment);
  SegmentHeader segment;
  if (decode_segment_header(std::span(file).first(kSegmentHeaderBytes), &segment) != SegmentVerdict::kGood) return std::nullopt;
  const std::uint64_t offset = std::uint64_t{place.unit} * kAlignment;
  return decode_record_header(std::span(file).subspan(offset, kRecordHeaderBytes), segment.salt, offset);
}

bool is_sealed(const LogParts& parts, std::uint32_t id) {
  const std::vector<std::byte> file = parts.file_of(id);
  SegmentHeader segment;
  EXPECT_EQ(decode_segment_header(std::span(file).first(kSegmentHeaderBytes), &segment), SegmentVerdict::kGood);
  return file.size() > kFooterBytes && summary_offset(std::span(file).last(kFooterBytes), segment, file.size()).has_value();
}

TEST(SegmentLog, ARecordIsWhereItsPlaceSays) {
  LogParts parts(std::make_shared<FaultFiles>());
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(parts.put(i, 1000 + i));
  for (std::uint64_t i = 0; i < 3; ++i) {
    const Place place = parts.place_of(i).value();
    const auto header = header_at(parts, place);
    ASSERT_TRUE(header);
    EXPECT_EQ(header->key, key_of(i));
    const std::vector<std::byte> file = parts.file_of(place.segment);
    const auto value = std::span(file).subspan(std::uint64_t{place.unit} * kAlignment + kRecordHeaderBytes, place.value_bytes);
    const std::string written = value_of(i, 1000 + i);
    EXPECT_TRUE(std::ranges::equal(value, std::as_bytes(std::span(written))));
  }
}

TEST(SegmentLog, NoRecordStandsBeforeThePositionThatWasToldBeforeIt) {
  LogParts parts(std::make_shared<FaultFiles>());
  for (std::uint64_t i = 0; i < 20; ++i) {
    const LogPosition before = parts.log.position();
    ASSERT_TRUE(parts.put(i, 10'000));
    const Place place = parts.place_of(i).value();
    EXPECT_GE((LogPosition{place.segment, std::uint64_t{place.unit} * kAlignment}), before);
  }
}

TEST(SegmentLog, AFullSegmentIsSealedAndTheNextOneBegins) {
  LogParts parts(std::make_shared<FaultFiles>());
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(parts.put(i, 10'000));
  const std::uint32_t first = parts.place_of(0)->segment, last = parts.place_of(19)->segment;
  EXPECT_EQ(last, parts.log.open().segment);
  EXPECT_GE(last, first + 3);
  for (std::uint32_t id = first; id < last; ++id) {
    EXPECT_TRUE(is_sealed(parts, id)) << id;
    EXPECT_LE(parts.file_of(id).size(), LogParts::kSegmentBytes);
  }
  EXPECT_FALSE(is_sealed(parts, last));
}

TEST(SegmentLog, AValueThatGotNoEntryIsErasedWhereItStands) {
  const auto files = std::make_shared<FaultFiles>();
  {
    LogParts parts(files);
    const LogPosition at = parts.log.position();
    ASSERT_TRUE(parts.put_unlisted(1, 1000));
    ASSERT_TRUE(parts.put(2, 1000));
    const auto header = header_at(parts, {parts.log.open().segment, kSegmentHeaderBytes / kAlignment, 1000});
    ASSERT_TRUE(header);
    EXPECT_EQ(header->type, RecordType::kErased);
    EXPECT_EQ(at.segment, parts.log.open().segment);
  }
  const LogParts again(files);
  EXPECT_FALSE(again.has(1));
  EXPECT_TRUE(again.has(2));
}

TEST(SegmentLog, AfterAFailedWriteNothingMoreIsWrittenToItsSegment) {
  LogParts parts(std::make_shared<FaultFiles>());
  ASSERT_TRUE(parts.put(1, 1000));
  const std::uint32_t segment = parts.log.open().segment;
  const std::size_t bytes = parts.file_of(segment).size();
  parts.files->fail_call(FaultFiles::kWrite, 1, EIO);
  EXPECT_FALSE(parts.put(2, 1000));
  EXPECT_TRUE(parts.state.broken());
  EXPECT_EQ(parts.log.open().segment, 0u);
  EXPECT_EQ(parts.file_of(segment).size(), bytes) << "what was cut off is cut away";
  EXPECT_TRUE(parts.has(1));
  EXPECT_FALSE(parts.has(2));
  {
    const MutexLock lock(parts.state.mutex);
    parts.state.health.heal();
  }
  ASSERT_TRUE(parts.put(2, 1000));
  EXPECT_GT(parts.place_of(2)->segment, segment);
}

TEST(SegmentLog, ASegmentWhoseFirstWriteFailsLeavesNoFile) {
  LogParts parts(std::make_shared<FaultFiles>());
  const std::size_t before = parts.files->contents().size();
  parts.files->fail_call(FaultFiles::kWrite, 2, EIO);   // the first is the segment's header
  EXPECT_FALSE(parts.put(1, 1000));
  EXPECT_EQ(parts.files->contents().size(), before);
}

TEST(SegmentLog, TheOldestSegmentsAreEvictedForTheBudget) {
  constexpr std::uint64_t kCapacity = 1 << 20;
  LogParts parts(std::make_shared<FaultFiles>(), kCapacity);
  for (std::uint64_t i = 0; i < 60; ++i) {
    ASSERT_TRUE(parts.put(i, 50'000));
    EXPECT_LE(parts.files->total_bytes(), kCapacity);
  }
  EXPECT_FALSE(parts.has(0));
  EXPECT_FALSE(parts.has(30));
  for (std::uint64_t i = 50; i < 60; ++i) EXPECT_TRUE(parts.has(i)) << i;
  EXPECT_GT(parts.counters().evictions, 30u);
}

TEST(SegmentLog, AnEvictionKeepsWhatWasUsed) {
  LogParts parts(std::make_shared<FaultFiles>(), 1 << 20);
  ASSERT_TRUE(parts.put(0, 1000));
  const std::uint32_t segment = parts.place_of(0)->segment;
  {
    const MutexLock lock(parts.state.mutex);
    parts.state.catalog[parts.state.catalog.find(key_of(0))].used = 1;
  }
  for (std::uint64_t i = 1; i < 25; ++i) ASSERT_TRUE(parts.put(i, 50'000));
  ASSERT_TRUE(parts.has(0));
  EXPECT_GT(parts.place_of(0)->segment, segment);
  EXPECT_EQ(parts.counters().written_again, 1u);
}

// It holds for older segments, so it goes only when there are none.
TEST(SegmentLog, ASegmentOfARemovalStaysWhileThereIsAnOlderOne) {
  LogParts parts(std::make_shared<FaultFiles>());
  ASSERT_TRUE(parts.put(1, 1000));
  ASSERT_TRUE(parts.put(2, 1000));
  parts.log.seal_segment();
  const std::uint32_t older = parts.place_of(1)->segment;
  ASSERT_TRUE(parts.remove(1));
  const std::uint32_t removal = parts.log.open().segment;
  parts.log.seal_segment();
  ASSERT_TRUE(parts.put(3, 1000));
  parts.log.remove_empty_segments();
  EXPECT_TRUE(parts.state.segment_exists(removal));
  {
    const MutexLock lock(parts.state.mutex);
    for (const std::uint64_t number : {1u, 2u}) parts.state.catalog.erase(parts.state.catalog.find(key_of(number)));
  }
  parts.log.remove_empty_segments();
  EXPECT_FALSE(parts.state.segment_exists(older));
  EXPECT_FALSE(parts.state.segment_exists(removal));
  EXPECT_TRUE(parts.has(3));
}

TEST(SegmentLog, ADirectoryOfSomebodyElseIsLeftAlone) {
  LogParts parts(std::make_shared<FaultFiles>());
  ASSERT_TRUE(parts.put(1, 1000));
  parts.files->delete_directory();
  EXPECT_FALSE(parts.log.owns_directory());
  EXPECT_FALSE(parts.put(2, 1000));
  EXPECT_FALSE(parts.has(1));
  EXPECT_TRUE(parts.files->contents().empty());
}

}   // namespace
}   // namespace tensorcache::disk
