// Recovery alone: a log is written, and recovered by parts that know nothing of it.
#include <gtest/gtest.h>

#include "testing/store/log_parts.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

class RecoveryTest : public ::testing::Test {
 protected:
  // Ends as a crash does: the open segment has no summary.
  void write(const std::function<void(LogParts&)>& steps) {
    LogParts parts(files_);
    steps(parts);
  }
  std::shared_ptr<FaultFiles> files_ = std::make_shared<FaultFiles>();
};

LogParts::ChangeHeader behind(std::uint64_t parent) {
  return [parent](RecordHeader& header) {
    header.chained = true;
    header.parent = key_of(parent);
  };
}

TEST_F(RecoveryTest, FindsEveryValueOfSealedSegmentsAndOfTheOpenOne) {
  std::vector<Place> places;
  write([&](LogParts& parts) {
    for (std::uint64_t i = 0; i < 20; ++i) {
      ASSERT_TRUE(parts.put(i, 10'000));
      places.push_back(parts.place_of(i).value());
    }
  });
  const LogParts again(files_);
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(again.place_of(i), places[i]) << i;
}

TEST_F(RecoveryTest, ALaterCopyOfAValueCounts) {
  write([](LogParts& parts) {
    ASSERT_TRUE(parts.put(1, 100));
    ASSERT_TRUE(parts.put(1, 200));
  });
  const LogParts again(files_);
  ASSERT_TRUE(again.has(1));
  EXPECT_EQ(again.place_of(1)->value_bytes, 200u);
}

TEST_F(RecoveryTest, ARemovalCountsForWhatIsBeforeIt) {
  write([](LogParts& parts) {
    for (const std::uint64_t number : {1u, 2u, 3u}) ASSERT_TRUE(parts.put(number, 100));
    ASSERT_TRUE(parts.remove(1));
    ASSERT_TRUE(parts.remove(2));
    ASSERT_TRUE(parts.put(2, 200));
  });
  const LogParts again(files_);
  EXPECT_FALSE(again.has(1));
  EXPECT_TRUE(again.has(2)) << "stored again since";
  EXPECT_TRUE(again.has(3));
}

TEST_F(RecoveryTest, ARemovalTakesWhatIsChainedBehindItsKey) {
  write([](LogParts& parts) {
    ASSERT_TRUE(parts.put(1, 100));
    ASSERT_TRUE(parts.put(2, 100, behind(1)));
    ASSERT_TRUE(parts.put(3, 100, behind(2)));
    ASSERT_TRUE(parts.remove(1));
  });
  const LogParts again(files_);
  for (const std::uint64_t number : {1u, 2u, 3u}) EXPECT_FALSE(again.has(number)) << number;
}

TEST_F(RecoveryTest, AChildThatComesBeforeItsParentIsHungBehindIt) {
  write([](LogParts& parts) {
    ASSERT_TRUE(parts.put(2, 100, behind(1)));
    ASSERT_TRUE(parts.put(1, 100));
  });
  const LogParts again(files_);
  ASSERT_TRUE(again.has(1));
  ASSERT_TRUE(again.has(2));
  const MutexLock lock(again.state.mutex);
  const Catalog& catalog = again.state.catalog;
  EXPECT_EQ(catalog[catalog.find(key_of(2))].parent, catalog.find(key_of(1)));
}

TEST_F(RecoveryTest, AChildWithoutItsParentGetsNoEntry) {
  write([](LogParts& parts) {
    ASSERT_TRUE(parts.put(2, 100, behind(1)));
    ASSERT_TRUE(parts.put(3, 100));
  });
  const LogParts again(files_);
  EXPECT_FALSE(again.has(2));
  EXPECT_TRUE(again.has(3));
}

TEST_F(RecoveryTest, ARecordThatWasNotWrittenToItsEndIsLostAndNothingElse) {
  write([](LogParts& parts) {
    for (const std::uint64_t number : {1u, 2u, 3u}) ASSERT_TRUE(parts.put(number, 1000));
  });
  auto contents = files_->contents();
  auto& file = contents.at("cache/" + segment_name(1));
  file.resize(file.size() - 500);
  files_->set_contents(contents);
  LogParts again(files_);
  EXPECT_TRUE(again.has(1));
  EXPECT_TRUE(again.has(2));
  EXPECT_FALSE(again.has(3));
  EXPECT_GT(again.counters().lost_bytes, 0u);
  ASSERT_TRUE(again.put(4, 1000));
  EXPECT_EQ(again.place_of(4)->segment, 1u) << "a small last segment is filled further";
}

TEST_F(RecoveryTest, ASegmentWhoseHeaderIsDamagedIsDropped) {
  write([](LogParts& parts) {
    ASSERT_TRUE(parts.put(1, 1000));
    parts.log.seal_segment();
    ASSERT_TRUE(parts.put(2, 1000));
  });
  auto contents = files_->contents();
  for (const std::size_t at : {40, 104}) contents.at("cache/" + segment_name(1))[at] ^= std::byte{1};   // it stands there twice
  files_->set_contents(contents);
  const LogParts again(files_);
  EXPECT_FALSE(again.has(1));
  EXPECT_TRUE(again.has(2));
  EXPECT_EQ(again.counters().damaged_segments, 1u);
  EXPECT_FALSE(files_->exists("cache/" + segment_name(1)));
}

TEST_F(RecoveryTest, WhatIsStillToBeOverwrittenGetsNoEntry) {
  write([](LogParts& parts) {
    ASSERT_TRUE(parts.put(1, 1000, [](RecordHeader& header) { header.owner = 5; }));
    ASSERT_TRUE(parts.put(2, 1000));
    std::list<Removal> removals(1);
    removals.front().type = RecordType::kClearOwner;
    removals.front().what.owner = 5;
    ASSERT_TRUE(parts.scrubber.add_wipes(removals.begin(), removals.end()));
    ASSERT_TRUE(parts.put(3, 1000, [](RecordHeader& header) { header.owner = 5; }));
  });
  const LogParts again(files_);
  EXPECT_FALSE(again.has(1));
  EXPECT_TRUE(again.has(2));
  EXPECT_TRUE(again.has(3)) << "stored after the deletion";
  EXPECT_EQ(again.scrubber.wipes().size(), 1u);
}

}   // namespace
}   // namespace tensorcache::disk
