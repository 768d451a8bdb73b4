// match() in two halves: a run is pinned first, and counted when it is used.
#include "testing/store/cache.h"
#include "testing/store/lookups.h"
#include "tensorcache/cache.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

class Pinned : public ::testing::Test {
 protected:
  void SetUp() override { put_chain(cache_, {keys_.begin(), keys_.begin() + 4}, 100); }
  Cache cache_{CacheOptions{}};
  const std::vector<Key> keys_ = keys_of_chain(1, 6);
};

TEST_F(Pinned, IsCountedWhenItIsUsed) {
  const PrefixMatch run = cache_.pin(keys_);
  ASSERT_EQ(run.size(), 4u);
  EXPECT_EQ(text_of(run.blocks()[3]), value_of(3, 100));
  EXPECT_EQ(cache_.stats().hits + cache_.stats().misses, 0u);
  cache_.use(run, keys_.size());
  EXPECT_EQ(cache_.stats().hits, 4u);
  EXPECT_EQ(cache_.stats().misses, 2u);
}

TEST_F(Pinned, IsExtendedByWhatIsStoredRightBehindIt) {
  const std::vector<Key> ends = keys_of_chain(2, 3);
  ASSERT_EQ(cache_.put(ends[0], "behind another", {.parent = keys_[1]}), PutStatus::kStored);
  PrefixMatch run = cache_.pin(keys_);
  EXPECT_FALSE(cache_.pin_next(run, ends));
  EXPECT_EQ(run.size(), 4u);
  ASSERT_EQ(cache_.put(ends[2], "behind it", {.parent = keys_[3]}), PutStatus::kStored);
  EXPECT_EQ(cache_.pin_next(run, ends), 2u);
  ASSERT_EQ(run.size(), 5u);
  EXPECT_EQ(text_of(run.blocks()[4]), "behind it");
}

TEST_F(Pinned, TheFirstOfAChainIsBehindNothing) {
  PrefixMatch none;
  EXPECT_FALSE(cache_.pin_next(none, std::span(keys_).subspan(1))) << "those are behind others";
  EXPECT_EQ(cache_.pin_next(none, keys_), 0u);
  EXPECT_EQ(none.size(), 1u);
}

TEST_F(Pinned, CanBeUsedAfterItWasRemoved) {
  const PrefixMatch run = cache_.pin(keys_);
  EXPECT_TRUE(cache_.remove(keys_[0]));
  cache_.use(run, keys_.size());
  EXPECT_EQ(text_of(run.blocks()[3]), value_of(3, 100));
  EXPECT_EQ(cache_.stats().hits, 4u);
}

TEST_F(Pinned, EachHalfIsOneLookUp) {
  LookupCounter lookups(cache_);
  PrefixMatch run = cache_.pin(keys_);
  EXPECT_EQ(lookups.count(), 1u);
  static_cast<void>(cache_.pin_next(run, keys_));
  EXPECT_EQ(lookups.count(), 2u);
  cache_.use(run, keys_.size());
  EXPECT_EQ(lookups.count(), 3u);
  static_cast<void>(cache_.stats());
  EXPECT_EQ(lookups.count(), 3u) << "statistics and collected uses are none";
}

TEST(Pin, AMatchThatWasMovedFromIsEmpty) {
  Cache cache({.capacity_bytes = 1 << 20});
  const Key key = testing::key_of(1);
  ASSERT_EQ(cache.put(key, testing::value_of(1, 100)), PutStatus::kStored);
  PrefixMatch match = cache.pin(std::span(&key, 1));
  ASSERT_EQ(match.size(), 1u);
  const PrefixMatch other = std::move(match);
  EXPECT_TRUE(match.empty());   // NOLINT(bugprone-use-after-move): what it is afterwards is promised
  EXPECT_TRUE(match.blocks().empty());
  EXPECT_EQ(other.blocks().size(), 1u);
}

}   // namespace
}   // namespace tensorcache::cache
