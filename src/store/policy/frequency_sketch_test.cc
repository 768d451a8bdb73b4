#include "store/policy/frequency_sketch.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace tensorcache::policy {
namespace {

std::uint64_t hash_of(std::uint64_t key) { return (key + 1) * 0x9E3779B97F4A7C15u; }

TEST(FrequencySketch, CountsUses) {
  FrequencySketch sketch;
  sketch.grow_to(1000);
  for (std::uint64_t key = 0; key < 50; ++key) {
    for (std::uint64_t use = 0; use < key; ++use) sketch.add(hash_of(key));
  }
  for (std::uint64_t key = 0; key < 50; ++key) EXPECT_EQ(sketch.estimate(hash_of(key)), key) << "few keys: no collisions";
}

// Never less than the uses since the last halving, and seldom much more.
TEST(FrequencySketch, OverestimatesLittle) {
  constexpr std::uint64_t kKeys = 5000;
  FrequencySketch sketch;
  sketch.grow_to(kKeys);
  for (int use = 0; use < 3; ++use) {
    for (std::uint64_t key = 0; key < kKeys; ++key) sketch.add(hash_of(key));
  }
  std::uint64_t wrong = 0;
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    EXPECT_GE(sketch.estimate(hash_of(key)), 3u) << key;
    wrong += sketch.estimate(hash_of(key)) != 3 ? 1 : 0;
  }
  EXPECT_LT(wrong, kKeys / 100);
}

TEST(FrequencySketch, OldUsesFade) {
  FrequencySketch sketch;
  sketch.grow_to(64);
  for (int i = 0; i < 200; ++i) sketch.add(hash_of(1));
  EXPECT_EQ(sketch.estimate(hash_of(1)), 200u);
  for (std::uint64_t use = 0; use < 1000; ++use) sketch.add(hash_of(2 + use % 60));
  EXPECT_LE(sketch.estimate(hash_of(1)), 110u);
  EXPECT_GE(sketch.estimate(hash_of(1)), 25u);
}

TEST(FrequencySketch, GrowingKeepsWhatIsKnown) {
  FrequencySketch sketch;
  sketch.grow_to(100);
  for (int i = 0; i < 9; ++i) sketch.add(hash_of(7));
  sketch.grow_to(10'000);
  EXPECT_GE(sketch.estimate(hash_of(7)), 9u);
  EXPECT_EQ(sketch.estimate(hash_of(7)), 9u);
}

TEST(FrequencySketch, KnowsNothingBeforeItGrowsAndAfterShed) {
  FrequencySketch sketch;
  sketch.add(hash_of(1));
  EXPECT_EQ(sketch.estimate(hash_of(1)), 0u);
  sketch.grow_to(100);
  sketch.add(hash_of(1));
  EXPECT_EQ(sketch.estimate(hash_of(1)), 1u);
  sketch.shed();
  EXPECT_EQ(sketch.estimate(hash_of(1)), 0u);
}

}   // namespace
}   // namespace tensorcache::policy
