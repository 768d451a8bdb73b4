#include "store/memory/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <vector>

#include "testing/core/values.h"

namespace tensorcache::memory {
namespace {

using testing::key_of;

class ShardTest : public ::testing::Test {
 protected:
  Entry& entry_of(std::uint64_t id) {
    while (entries_.size() <= id) {
      const Key key = key_of(entries_.size());
      entries_.emplace_back().set_key(key);
    }
    return entries_[id];
  }
  // Grows the table as its owner does. False: there is no place.
  bool link(std::uint64_t id) {
    const SpinLock lock(shard_.mutex);
    if (const std::uint64_t bytes = shard_.wanted_table_bytes(); bytes != 0) free(shard_.set_table(Table::make(bytes)));
    return shard_.link(entry_of(id));
  }
  void unlink(std::uint64_t id) {
    const SpinLock lock(shard_.mutex);
    shard_.unlink(entry_of(id));
  }
  static void free(Table* table) {
    if (table != nullptr) Table::free(table);
  }
  std::uint64_t smaller(Shard::Fit fit) {
    const SpinLock lock(shard_.mutex);
    return shard_.smaller_table_bytes(fit);
  }

  std::deque<Entry> entries_;
  Shard shard_;
};

TEST_F(ShardTest, FindsWhatIsLinkedAndNothingElse) {
  constexpr std::uint64_t kMany = 3000;
  for (std::uint64_t id = 0; id < kMany; ++id) ASSERT_TRUE(link(id));
  for (std::uint64_t id = 0; id < kMany; id += 3) unlink(id);
  for (std::uint64_t id = 0; id < kMany; ++id) EXPECT_EQ(shard_.find(key_of(id)), id % 3 == 0 ? nullptr : &entry_of(id)) << id;
  EXPECT_EQ(shard_.find(key_of(kMany)), nullptr);
}

// All in one bucket: those that find it full go on to the next ones, and are found there after
// those before them went.
TEST_F(ShardTest, FindsBehindFullBuckets) {
  constexpr std::uint64_t kMany = 40;
  const SpinLock lock(shard_.mutex);
  for (int i = 0; i < 5; ++i) free(shard_.set_table(Table::make(shard_.next_table_bytes())));   // 32 buckets
  for (std::uint64_t id = 0; id < kMany; ++id) {
    entry_of(id).hash = 7;
    ASSERT_TRUE(shard_.link(entry_of(id)));
  }
  for (std::uint64_t id = 0; id < kMany; id += 2) shard_.unlink(entry_of(id));
  for (std::uint64_t id = 0; id < kMany; ++id) EXPECT_EQ(shard_.find(entry_of(id).key()), id % 2 == 0 ? nullptr : &entry_of(id)) << id;
}

TEST_F(ShardTest, ItsOwnTableHoldsAFewAndThenHasNoPlace) {
  const SpinLock lock(shard_.mutex);
  EXPECT_EQ(shard_.table_bytes(), 0u);
  std::uint64_t linked = 0;
  while (linked < 100 && shard_.link(entry_of(linked))) ++linked;
  EXPECT_EQ(linked, Bucket::kEntries);
  EXPECT_NE(shard_.wanted_table_bytes(), 0u);
  for (std::uint64_t id = 0; id < linked; ++id) EXPECT_EQ(shard_.find(key_of(id)), &entry_of(id));
}

TEST_F(ShardTest, ATableIsTooLargeWhenItsEntriesWent) {
  constexpr std::uint64_t kMany = 1000;
  for (std::uint64_t id = 0; id < kMany; ++id) ASSERT_TRUE(link(id));
  EXPECT_EQ(smaller(Shard::Fit::kLoose), 0u) << "just grown";
  for (std::uint64_t id = 0; id < kMany * 9 / 10; ++id) unlink(id);
  const std::uint64_t bytes = smaller(Shard::Fit::kLoose);
  ASSERT_NE(bytes, 0u);
  const SpinLock lock(shard_.mutex);
  EXPECT_LT(bytes, shard_.table_bytes());
  EXPECT_LE(shard_.smaller_table_bytes(Shard::Fit::kTight), bytes);
  free(shard_.set_table(Table::make(bytes)));
  EXPECT_EQ(shard_.smaller_table_bytes(Shard::Fit::kLoose), 0u) << "it has the right size now";
  for (std::uint64_t id = kMany * 9 / 10; id < kMany; ++id) EXPECT_EQ(shard_.find(key_of(id)), &entry_of(id));
}

TEST_F(ShardTest, AnEmptyOneGoesBackToItsOwnTable) {
  for (std::uint64_t id = 0; id < 100; ++id) ASSERT_TRUE(link(id));
  for (std::uint64_t id = 0; id < 100; ++id) unlink(id);
  {
    const SpinLock lock(shard_.mutex);
    ASSERT_TRUE(shard_.is_empty());
    Table* const before = shard_.drop_table();
    ASSERT_NE(before, nullptr);
    free(before);
    EXPECT_EQ(shard_.table_bytes(), 0u);
    EXPECT_EQ(shard_.drop_table(), nullptr);
  }
  EXPECT_EQ(shard_.find(key_of(1)), nullptr);
  ASSERT_TRUE(link(1));
  EXPECT_EQ(shard_.find(key_of(1)), &entry_of(1));
}

// A walk in slices meets each entry once, although entries go meanwhile.
TEST_F(ShardTest, AWalkInSlicesMeetsEachOnce) {
  constexpr std::uint64_t kMany = 500;
  for (std::uint64_t id = 0; id < kMany; ++id) ASSERT_TRUE(link(id));
  const SpinLock lock(shard_.mutex);
  std::vector<Entry*> met;
  std::size_t at = 0;
  const auto visit = [&](Entry& entry) {
    shard_.mutex.assert_held();
    met.push_back(&entry);
    shard_.unlink(entry);
  };
  while (shard_.for_some(at, 8, visit)) at += 8;
  std::ranges::sort(met);
  EXPECT_EQ(met.size(), kMany);
  EXPECT_EQ(std::ranges::adjacent_find(met), met.end());
  EXPECT_TRUE(shard_.is_empty());
}

}   // namespace
}   // namespace tensorcache::memory
