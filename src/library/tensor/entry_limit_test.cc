#include "library/tensor/entry_limit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "testing/core/values.h"

namespace tensorcache::tensor {
namespace {

using testing::key_of;

TEST(EntryLimitOrder, TheLeastRecentlyUsedIsTheExcess) {
  EntryLimit limit(2);
  limit.insert(key_of(1));
  limit.insert(key_of(2));
  EXPECT_EQ(limit.take_excess(), std::nullopt) << "two are no excess";
  EXPECT_FALSE(limit.touch(key_of(1)));
  limit.insert(key_of(3));
  EXPECT_EQ(limit.take_excess(), key_of(2));
  EXPECT_EQ(limit.take_excess(), std::nullopt);
  EXPECT_TRUE(limit.contains(key_of(1)));
  EXPECT_FALSE(limit.contains(key_of(2)));
}

TEST(EntryLimitOrder, AUseOfAKeyThatWasNotKnownCounts) {
  EntryLimit limit(1);
  limit.insert(key_of(1));
  EXPECT_TRUE(limit.touch(key_of(2))) << "too many now";
  EXPECT_EQ(limit.take_excess(), key_of(1));
}

TEST(EntryLimitOrder, WithoutALimitNothingIsRecorded) {
  EntryLimit limit(0);
  limit.insert(key_of(1));
  EXPECT_FALSE(limit.touch(key_of(1)));
  EXPECT_FALSE(limit.contains(key_of(1)));
  EXPECT_EQ(limit.take_excess(), std::nullopt);
}

TEST(EntryLimitOrder, ALowerLimitTakesTheOldestUntilItFits) {
  EntryLimit limit(4);
  for (std::uint64_t i = 0; i < 4; ++i) limit.insert(key_of(i));
  limit.resize(1);
  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(limit.take_excess(), key_of(i));
  EXPECT_EQ(limit.take_excess(), std::nullopt);
  limit.resize(0);
  EXPECT_FALSE(limit.contains(key_of(3))) << "no limit: nothing is recorded";
}

TEST(EntryLimitOrder, ErasedAndClearedKeysDoNotCount) {
  EntryLimit limit(2);
  for (std::uint64_t i = 0; i < 3; ++i) limit.insert(key_of(i));
  limit.erase(key_of(2));
  limit.erase(key_of(99));
  EXPECT_EQ(limit.take_excess(), std::nullopt);
  limit.clear();
  EXPECT_FALSE(limit.contains(key_of(0)));
}

// Each excess key is handed out to one thread.
TEST(EntryLimitOrder, ThreadsTakeEachExcessKeyOnce) {
  constexpr std::uint64_t kKeys = 4000, kThreads = 4;
  EntryLimit limit(10);
  std::atomic<std::uint64_t> taken{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = t; i < kKeys; i += kThreads) {
        limit.insert(key_of(i));
        while (limit.take_excess()) ++taken;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, kKeys - 10);
}

}   // namespace
}   // namespace tensorcache::tensor
