// What a start makes of a directory: bounded memory for large segments and long lists, and an exact
// account of what has no entry.
#include <algorithm>
#include <cerrno>

#include "testing/store/disk.h"
#include "store/disk/directory_scan.h"
#include "testing/core/eventually.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

using std::chrono::seconds;

void put_small(testing::TestTier& tier, std::uint64_t begin, std::uint64_t end,
               const std::function<void(DiskTier::Value&, std::uint64_t)>& change = {}) {
  for (std::uint64_t i = begin; i < end; ++i) {
    ASSERT_TRUE(tier.put(i, 10, [&](DiskTier::Value& value) {
      if (change) change(value, i);
    }));
    if (i % 1000 == 0) {
      ASSERT_TRUE(tier.flush()) << i;
    }
  }
  ASSERT_TRUE(tier.flush());
}

// The lock file goes, and the tier takes the directory anew, with what is in it.
TEST(DiskRecovery, AnEarlierClearDoesNotHideWhatWasStoredSince) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  tier->clear(std::nullopt);
  ASSERT_TRUE(tier.flush());
  ASSERT_TRUE(tier.put(2, 1000));
  ASSERT_TRUE(tier.put(3, 1000));
  ASSERT_TRUE(tier.flush());
  ASSERT_EQ(files->remove("cache/LOCK"), 0);
  ASSERT_TRUE(eventually([&] { return tier->stats().write_errors > 0; }));
  ASSERT_TRUE(tier.healed());
  EXPECT_TRUE(tier.has(2));
  EXPECT_TRUE(tier->remove(key_of(2)));
  tier.restart();
  EXPECT_FALSE(tier.has(1));
  EXPECT_FALSE(tier.has(2)) << "removed";
  EXPECT_TRUE(tier.has(3));
}

// A power cut may bring back the segment, whose summary knows nothing of it, without the one that
// said what was removed: the mark in the place of the value's header is left.
TEST(DiskRecovery, AValueThatWasErasedWhereItStandsIsGoneAndNotCorrupt) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  ASSERT_EQ(tier->stats().segments, 2u) << "the first is full, and has its summary";
  EXPECT_TRUE(tier->remove(key_of(1)));
  ASSERT_TRUE(tier.flush());
  auto after = files->contents();
  tier.stop();
  std::erase_if(after, [](const auto& file) { return file.first.ends_with("2.tcs"); });
  files->set_contents(after);
  tier.start();
  EXPECT_FALSE(tier.has(1));
  EXPECT_TRUE(tier.has(2));
  EXPECT_EQ(tier->stats().corrupt_records, 0u);
}

TEST(DiskRecovery, ASegmentOfManyRecordsIsReadInPieces) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) {
    options.capacity_bytes = 64 << 20;
    options.segment_bytes = 8 << 20;
  });
  constexpr std::uint64_t kMany = 9000;
  put_small(tier, 0, kMany);
  ASSERT_EQ(tier->stats().segments, 1u);
  tier.stop();
  const std::string path = "cache/" + segment_name(1);
  const auto contents = files->contents();
  for (const bool summary : {true, false}) {
    auto changed = contents;
    if (!summary) changed.at(path)[contents.at(path).size() - kFooterBytes - kMany / 2 * kSummaryEntryBytes] ^= std::byte{1};
    files->set_contents(changed);
    tier.start();
    EXPECT_EQ(tier->stats().entries, kMany) << summary;
    for (std::uint64_t i = 0; i < kMany; i += 250) ASSERT_TRUE(tier.has(i)) << i;
    tier.stop();
  }
}

// A parent that was written again comes after its children, which wait for it in memory that is
// charged.
TEST(DiskRecovery, ChildrenThatWaitForTheirParentAreCharged) {
  const auto files = std::make_shared<testing::FaultFiles>();
  std::uint64_t charged = 0, peak = 0, most = UINT64_MAX;
  testing::TestTier tier(files, [&](DiskTierOptions& options) {
    options.charge = [&](std::uint64_t bytes) {
      if (charged + bytes > most) return false;
      charged += bytes;
      peak = std::max(peak, charged);
      return true;
    };
    options.give_back = [&](std::uint64_t bytes) { charged -= bytes; };
  });
  constexpr std::uint64_t kChildren = 10'000;
  ASSERT_TRUE(tier.put(0, 10));
  for (std::uint64_t i = 20'000; i < 20'012; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  put_small(tier, 1, 1 + kChildren, [](DiskTier::Value& value, std::uint64_t) { value.parent = key_of(0); });
  for (std::uint64_t i = 30'000; tier->stats().written_again == 0; ++i) {
    ASSERT_LT(i, 31'000u);
    ASSERT_TRUE(tier.put(i, 20'000));
    ASSERT_TRUE(tier.flush());
  }
  peak = 0;
  tier.restart();
  const std::uint64_t all = tier->stats().entries, index_bytes = tier->stats().index_bytes;
  EXPECT_GE(all, kChildren);
  EXPECT_EQ(charged, index_bytes) << "what waiting took was given back";
  EXPECT_GE(peak, index_bytes + 4000u * 100) << "it was charged";
  most = index_bytes + 200'000;
  tier.restart();
  EXPECT_LE(peak, std::max(peak, most));
  EXPECT_LT(tier->stats().entries, all);
  EXPECT_GE(tier->stats().entries, 4000u);
  EXPECT_GT(tier->stats().unlisted_records, 0u) << "they are accounted for";
  most = UINT64_MAX;
  tier.restart();
  EXPECT_EQ(tier->stats().entries, all) << "and not lost";
}

TEST(DiskRecovery, ASegmentThatCouldNotBeMeasuredIsEvictedInItsTurn) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  tier.stop();
  files->fail_call(testing::FaultFiles::kNames, 3, EIO);   // after the directory was made and listed
  tier.start();
  files->fail_nothing();
  ASSERT_EQ(tier->stats().read_errors, 1u);
  for (std::uint64_t i = 100; i < 300; ++i) {
    ASSERT_TRUE(tier.put(i, 20'000));
    ASSERT_TRUE(tier.flush());
  }
  EXPECT_FALSE(files->exists("cache/" + segment_name(1)));
  EXPECT_LE(files->total_bytes(), 2u << 20);
}

TEST(DiskRecovery, NeverMoreSegmentsThanTheirBound) {
  const auto files = std::make_shared<testing::FaultFiles>();
  std::map<std::string, std::vector<std::byte>> contents;
  for (std::uint64_t id = 1; id <= DiskTier::kMaxSegments; ++id) {
    const SegmentHeader segment{id, 1'700'000'000'000, {id, id}};
    const std::vector<std::byte> value = value_bytes(id, 10);
    RecordHeader header;
    header.key = key_of(id);
    header.value_bytes = value.size();
    header.payload_checksum = payload_checksum(value, segment.salt, kSegmentHeaderBytes);
    const SegmentHeaderBytes begin = encode_segment_header(segment);
    const RecordHeaderBytes record = encode_record_header(header, segment.salt, kSegmentHeaderBytes);
    std::vector<std::byte>& file = contents["cache/" + segment_name(id)];
    file.insert(file.end(), begin.begin(), begin.end());
    file.insert(file.end(), record.begin(), record.end());
    file.insert(file.end(), value.begin(), value.end());
    file.resize(kSegmentHeaderBytes + record_bytes(value.size()));
  }
  files->set_contents(contents);
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 64 << 20; });
  ASSERT_EQ(tier->stats().segments, DiskTier::kMaxSegments);
  for (std::uint64_t i = 100'000; i < 100'060; ++i) {   // several segments
    ASSERT_TRUE(tier.put(i, 20'000));
    ASSERT_TRUE(tier.flush());
    ASSERT_LE(tier->stats().segments, DiskTier::kMaxSegments);
  }
  EXPECT_FALSE(tier.has(1)) << "the oldest gave way";
  EXPECT_TRUE(tier.has(DiskTier::kMaxSegments));
  EXPECT_TRUE(tier.has(100'000) && tier.has(100'059));
}

// With a pass over all entries for each of its levels this would take an hour.
TEST(DiskRecovery, ASurveyOfALongChainWithoutItsBeginningIsLinear) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 256 << 20; });
  constexpr std::uint64_t kLevels = 100'000;
  put_small(tier, 0, kLevels, [](DiskTier::Value& value, std::uint64_t i) {
    if (i > 0) value.parent = key_of(i - 1);
  });
  put_small(tier, 200'000, 200'010);
  tier.stop();
  ASSERT_EQ(files->remove("cache/" + segment_name(1)), 0);
  DirectoryScan found;
  ASSERT_EQ(scan_directory(*files, "cache", &found), 0);
  EXPECT_EQ(found.entries.size(), 10u);
  tier.start();
  EXPECT_EQ(tier->stats().entries, 10u) << "as a start has it";
}

}   // namespace
}   // namespace tensorcache::disk
