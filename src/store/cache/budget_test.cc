// The byte budget: hard, honest, changed at run time.
#include <cmath>
#include <fstream>
#include <list>
#include <memory>
#include <random>
#include <unordered_map>

#include "testing/store/cache.h"
#include "tensorcache/cache.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

TEST(BudgetOf, EverythingCountsAndTheCapHolds) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{500}, std::size_t{20'000}, std::size_t{400'000}}) {
    SCOPED_TRACE(size);
    const std::uint64_t capacity = std::max<std::uint64_t>(1 << 20, 10 * size);
    Cache cache({.capacity_bytes = capacity});
    for (std::uint64_t i = 0; i < 5000; ++i) {
      ASSERT_EQ(cache.put(key_of(i), value_of(i, size)), PutStatus::kStored);
      ASSERT_LE(cache.stats().used_bytes, capacity);
    }
    const Stats stats = cache.stats();
    EXPECT_LE(stats.peak_bytes, capacity);
    EXPECT_GT(stats.peak_bytes, capacity / 2);
    EXPECT_EQ(stats.evictions, 5000 - entries(stats));
    EXPECT_GE(stats.kinds[0].charged_bytes, entries(stats) * (size + 64));
    EXPECT_LE(stats.kinds[0].charged_bytes, stats.used_bytes);
    // What was put last is what is there.
    for (std::uint64_t i = 5000 - entries(stats); i < 5000; ++i) EXPECT_TRUE(cache.contains(key_of(i))) << i;
  }
}

TEST(BudgetOf, WhatPoliciesRememberCounts) {
  for (const char* policy : {"adaptive", "arc", "gdsf", "lfu", "s3fifo", "wtinylfu"}) {
    SCOPED_TRACE(policy);
    Cache cache({.capacity_bytes = 4 << 20, .policy = policy});
    std::uint64_t most_policy_bytes = 0;
    for (std::uint64_t i = 0; i < 40'000; ++i) {
      ASSERT_LE(cache.put(key_of(i % 30'000), value_of(i, 200)), PutStatus::kAlreadyStored);
      if (i % 3 == 0) (void)cache.get(key_of(i * 7919 % (i + 1)));
      if (i % 100 != 0) continue;
      const Stats stats = cache.stats();
      ASSERT_LE(stats.used_bytes, stats.capacity_bytes);
      ASSERT_GE(stats.used_bytes, stats.kinds[0].charged_bytes + stats.policy_bytes + stats.table_bytes + stats.idle_bytes);
      most_policy_bytes = std::max(most_policy_bytes, stats.policy_bytes);
    }
    EXPECT_GT(most_policy_bytes, 8u << 10);
    EXPECT_LE(most_policy_bytes, 1u << 20);
    EXPECT_GT(cache.stats().table_bytes, 0u);
    cache.resize(1 << 20);
    EXPECT_LE(cache.stats().used_bytes, 1u << 20);
    (void)cache.clear();
    EXPECT_EQ(cache.stats().policy_bytes, 0u);
    EXPECT_EQ(cache.stats().used_bytes, 0u);
  }
}

TEST(BudgetOf, LruKeepsWhatIsUsedFifoWhatIsNew) {
  for (const char* policy : {"lru", "fifo"}) {
    SCOPED_TRACE(policy);
    Cache cache({.capacity_bytes = 10 * charge_of(1000), .policy = policy});
    for (std::uint64_t i = 0; i < 50; ++i) {
      ASSERT_EQ(cache.put(key_of(i), value_of(i, 1000)), PutStatus::kStored);
      (void)cache.get(key_of(0));
    }
    EXPECT_EQ(cache.contains(key_of(0)), policy == std::string("lru"));
  }
}

TEST(BudgetOf, TooLargeIsSaidBeforeAnythingGoes) {
  Cache cache({.capacity_bytes = 1 << 20});
  ASSERT_EQ(cache.put(key_of(1), "x"), PutStatus::kStored);
  for (const std::size_t size : {std::size_t{1} << 20, std::size_t{1} << 40, ~std::size_t{0}}) {
    const Reservation draft = cache.reserve(key_of(2), size);
    EXPECT_FALSE(draft);
    EXPECT_EQ(draft.status(), PutStatus::kTooLarge);
  }
  EXPECT_TRUE(cache.contains(key_of(1)));
  Cache nothing({.capacity_bytes = 0});
  EXPECT_EQ(nothing.put(key_of(1), ""), PutStatus::kTooLarge);
  Cache boundless({.capacity_bytes = ~std::uint64_t{0}});
  EXPECT_EQ(boundless.reserve(key_of(1), ~std::size_t{0}).status(), PutStatus::kTooLarge);
  EXPECT_EQ(boundless.put(key_of(1), "x"), PutStatus::kStored);
}

TEST(BudgetOf, AValueThatJustFitsIsStored) {
  for (const std::size_t size : {10, 1 << 20}) {
    const std::uint64_t charge = charge_of(size);
    Cache fits({.capacity_bytes = charge}), short_by_one({.capacity_bytes = charge - kMallocSlackBytes - 1});
    EXPECT_EQ(fits.put(key_of(1), value_of(1, size)), PutStatus::kStored);
    EXPECT_EQ(fits.put(key_of(2), value_of(2, size)), PutStatus::kStored);
    EXPECT_FALSE(fits.contains(key_of(1)));
    EXPECT_EQ(short_by_one.put(key_of(1), value_of(1, size)), PutStatus::kTooLarge);
  }
}

TEST(BudgetOf, NoSpaceWhenAllIsPinnedOrBeingWritten) {
  const std::uint64_t charge = charge_of(1000);
  Cache cache({.capacity_bytes = 3 * charge});
  ASSERT_EQ(cache.put(key_of(1), value_of(1, 1000)), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), value_of(2, 1000)), PutStatus::kStored);
  Handle one = cache.get(key_of(1)), two = cache.get(key_of(2));
  Reservation draft = cache.reserve(key_of(3), 1000);
  ASSERT_TRUE(draft);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cache.put(key_of(4), value_of(4, 1000)), PutStatus::kNoSpace);
  EXPECT_EQ(cache.stats().rejected_puts, 3u);
  EXPECT_EQ(cache.stats().evictions, 0u);
  EXPECT_EQ(one.text(), value_of(1, 1000));
  two.reset();   // that one may go now
  EXPECT_EQ(cache.put(key_of(4), value_of(4, 1000)), PutStatus::kStored);
  EXPECT_FALSE(cache.contains(key_of(2)));
  EXPECT_TRUE(cache.contains(key_of(1)));
  draft = Reservation();
  EXPECT_EQ(cache.put(key_of(5), value_of(5, 1000)), PutStatus::kStored);
  EXPECT_TRUE(cache.contains(key_of(4)));
}

TEST(BudgetOf, RemovedButPinnedStaysCharged) {
  for (const std::size_t size : {1000, 300'000}) {
    SCOPED_TRACE(size);
    Cache cache({.capacity_bytes = charge_of(size)});
    ASSERT_EQ(cache.put(key_of(1), value_of(1, size)), PutStatus::kStored);
    Handle pinned = cache.get(key_of(1));
    EXPECT_TRUE(cache.remove(key_of(1)));
    EXPECT_EQ(cache.put(key_of(2), value_of(2, size)), PutStatus::kNoSpace);
    EXPECT_EQ(pinned.text(), value_of(1, size));
    pinned.reset();
    EXPECT_EQ(cache.put(key_of(2), value_of(2, size)), PutStatus::kStored);
  }
}

TEST(BudgetOf, ResizeDownEvictsAtOnce) {
  Cache cache({.capacity_bytes = 100 * charge_of(1000)});
  for (std::uint64_t i = 0; i < 90; ++i) ASSERT_EQ(cache.put(key_of(i), value_of(i, 1000)), PutStatus::kStored);
  const std::uint64_t half = 50 * charge_of(1000);
  cache.resize(half);
  EXPECT_EQ(cache.stats().capacity_bytes, half);
  EXPECT_LE(cache.stats().used_bytes, half);
  EXPECT_GT(entries(cache.stats()), 40u);
  EXPECT_TRUE(cache.contains(key_of(89)));
  EXPECT_FALSE(cache.contains(key_of(0)));
  cache.resize(2 * half);
  for (std::uint64_t i = 0; i < 90; ++i) (void)cache.put(key_of(i), value_of(i, 1000));
  EXPECT_GE(entries(cache.stats()), 89u);
  cache.resize(0);
  EXPECT_EQ(entries(cache.stats()), 0u);
  EXPECT_EQ(cache.stats().used_bytes, 0u);
}

TEST(BudgetOf, ResizeBelowWhatIsPinnedTakesEffectAsItIsLetGo) {
  Cache cache({.capacity_bytes = 10 << 20});
  std::vector<Handle> pinned;
  for (std::uint64_t i = 0; i < 5; ++i) {
    ASSERT_EQ(cache.put(key_of(i), value_of(i, 1 << 20)), PutStatus::kStored);
    pinned.push_back(cache.get(key_of(i)));
  }
  Reservation draft = cache.reserve(key_of(9), 1 << 20);
  cache.resize(1 << 20);
  EXPECT_GT(cache.stats().used_bytes, 6u << 20);
  EXPECT_EQ(cache.put(key_of(6), "x"), PutStatus::kNoSpace);
  for (Handle& handle : pinned) EXPECT_EQ(handle.bytes().size(), 1u << 20);
  std::uint64_t before = cache.stats().used_bytes;
  for (Handle& handle : pinned) {
    handle.reset();
    EXPECT_LT(cache.stats().used_bytes, before) << "lower after each";
    before = cache.stats().used_bytes;
  }
  draft = Reservation();
  EXPECT_LE(cache.stats().used_bytes, 1u << 20);
  EXPECT_EQ(cache.put(key_of(6), "x"), PutStatus::kStored);
}

TEST(BudgetOf, BuffersKeptForReuseMakeWayForOtherSizes) {
  Cache cache({.capacity_bytes = 40 << 20});
  for (int round = 0; round < 4; ++round) {
    for (const std::size_t size : {200'000, 1 << 20, 700'000, 3 << 20, 100}) {
      for (std::uint64_t i = 0; i < 60; ++i) ASSERT_EQ(cache.put(key_of(i), value_of(i, size)), PutStatus::kStored);
      EXPECT_LE(cache.stats().peak_bytes, 40u << 20);
      for (std::uint64_t i = 0; i < 60; ++i) cache.remove(key_of(i));
      EXPECT_LE(cache.stats().used_bytes, (40u << 20) / 16 + (4 << 20)) << "only few are kept";
    }
  }
  cache.clear();
  EXPECT_EQ(cache.stats().used_bytes, 0u);
}

// Where there are many entries a hit only notes when it was: the order is not exactly that of use,
// and must be near it.
struct NearlyLru : ::testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Entries, NearlyLru, ::testing::Values(500, 2000, 10'000));

TEST_P(NearlyLru, HitsAsOftenAsTheExactOrder) {
  const std::size_t fit = GetParam(), ids = 10 * fit;
  Cache cache({.capacity_bytes = fit * (charge_of(64))});   // with its share of the index
  std::list<std::uint64_t> order;                           // the exact one, the last used first
  std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> exact;
  std::vector<Key> keys;
  for (std::uint64_t id = 0; id < ids; ++id) keys.push_back(key_of(id));
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::uint64_t hits = 0, exact_hits = 0;
  for (int i = 0; i < 300'000; ++i) {
    const auto id = static_cast<std::uint64_t>(std::pow(static_cast<double>(ids), uniform(random))) - 1;   // a power law
    const bool counted = i > 50'000;
    if (!cache.get(keys[id])) {
      (void)cache.put(keys[id], value_of(id, 64));
    } else {
      hits += counted ? 1 : 0;
    }
    if (const auto at = exact.find(id); at != exact.end()) {
      exact_hits += counted ? 1 : 0;
      order.splice(order.begin(), order, at->second);
    } else {
      exact[id] = order.insert(order.begin(), id);
    }
    for (const std::uint64_t there = cache.stats().kinds[0].entries; exact.size() > there; order.pop_back())
      exact.erase(order.back());   // as many as there
  }
  const double share = static_cast<double>(hits) / 250'000, exact_share = static_cast<double>(exact_hits) / 250'000;
  EXPECT_NEAR(share, exact_share, 0.002);
  EXPECT_LT(exact_share, 0.95) << "or it would be easy";
}

// From the first hint on, uses are told again: the order among those of high priority is exact.
TEST(Budget, AHintEndsGuessing) {
  Cache cache({.capacity_bytes = 4000 * charge_of(64)});
  for (std::uint64_t id = 0; id < 2000; ++id) ASSERT_EQ(cache.put(key_of(id), value_of(id, 64)), PutStatus::kStored);
  for (const std::uint64_t id : {1, 2}) cache.advise(std::vector<Key>{key_of(id)}, {.priority = 90});
  EXPECT_TRUE(cache.get(key_of(1)));
  std::uint64_t capacity = cache.stats().used_bytes;
  while (cache.contains(key_of(1)) && cache.contains(key_of(2))) cache.resize(capacity -= 64);
  EXPECT_TRUE(cache.contains(key_of(1)));
}

// A long time of nothing but hits, then new entries: what was not hit lately goes first.
TEST(Budget, WhatIsHitOutlivesWhatIsNotHit) {
  constexpr std::uint64_t kFit = 4000;
  Cache cache({.capacity_bytes = kFit * (charge_of(64))});
  for (std::uint64_t id = 0; id < kFit; ++id) (void)cache.put(key_of(id), value_of(id, 64));
  const std::uint64_t stored = cache.stats().kinds[0].entries;
  for (int round = 0; round < 10; ++round) {
    for (std::uint64_t id = kFit - stored; id < kFit; id += 2) EXPECT_TRUE(cache.get(key_of(id)));
  }
  for (std::uint64_t id = kFit; id < kFit + stored / 3; ++id) (void)cache.put(key_of(id), value_of(id, 64));
  std::uint64_t hit_ones_left = 0;
  for (std::uint64_t id = kFit - stored; id < kFit; id += 2) hit_ones_left += cache.contains(key_of(id)) ? 1 : 0;
  EXPECT_EQ(hit_ones_left, (stored + 1) / 2);
}

// With tables of the size that a larger budget had needed there is no room for values.
TEST(Resize, KeepsAsManyValuesAsASmallCacheHolds) {
  constexpr std::uint64_t kSmall = 8 << 20;
  const auto fill = [](Cache& cache, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) (void)cache.put(key_of(i), "12345678");
  };
  Cache fresh({.capacity_bytes = kSmall}), resized({.capacity_bytes = 128 << 20});
  fill(fresh, 100'000);
  fill(resized, 400'000);
  ASSERT_EQ(entries(resized.stats()), 400'000u);
  resized.resize(kSmall);
  EXPECT_LE(resized.stats().used_bytes, kSmall);
  EXPECT_LE(resized.stats().peak_bytes, 128u << 20);
  EXPECT_GT(entries(resized.stats()) * 10, entries(fresh.stats()) * 9) << "of " << entries(fresh.stats());
  resized.resize(128 << 20);
  fill(resized, 400'000);
  EXPECT_EQ(entries(resized.stats()), 400'000u) << "it grows again";
}

TEST(Tables, FollowWhatIsLeftInThem) {
  Cache cache({});
  for (std::uint64_t i = 0; i < 100'000; ++i) ASSERT_EQ(cache.put(key_of(i), "x"), PutStatus::kStored);
  const auto table_bytes = [&] { return cache.stats().used_bytes - cache.stats().kinds[0].charged_bytes; };
  const std::uint64_t full = table_bytes();
  for (std::uint64_t i = 0; i < 98'000; ++i) ASSERT_TRUE(cache.remove(key_of(i)));
  EXPECT_LT(table_bytes() * 10, full);
  for (std::uint64_t i = 98'000; i < 100'000; ++i) EXPECT_TRUE(cache.contains(key_of(i)));
  // No size is crossed again and again by a few values that come and go.
  const std::uint64_t left = table_bytes();
  for (std::uint64_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(cache.put(key_of(i), "x"), PutStatus::kStored);
    ASSERT_TRUE(cache.remove(key_of(i)));
    ASSERT_EQ(table_bytes(), left);
  }
}

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * 4096;
}

// What aligning a block costs must be in its charge: a block of 200 bytes once took a quarter more
// than that.
TEST(BudgetOf, SmallValuesIsWhatTheProcessTakes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "their malloc takes more";
#endif
  for (const std::size_t size : {std::size_t{16}, std::size_t{200}, std::size_t{1000}}) {
    SCOPED_TRACE(size);
    Cache cache({.capacity_bytes = 64 << 20});
    const std::uint64_t before = resident_bytes();
    const std::string value(size, 'v');
    for (std::uint64_t i = 0; i < 400'000; ++i) ASSERT_EQ(cache.put(key_of(i), value), PutStatus::kStored);
    const std::uint64_t taken = resident_bytes() - before;
    EXPECT_LE(taken, cache.stats().used_bytes * 108 / 100);
  }
}

// Small values lie among others in malloc's heaps, which keep what is freed unless they are
// trimmed.
TEST(Resize, GivesMemoryBackToTheSystem) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "their malloc does not give memory back";
#endif
  constexpr std::uint64_t kLeast = 40 << 20;
  Cache cache({.capacity_bytes = 64 << 20});
  for (std::uint64_t i = 0; i < 8'000; ++i) ASSERT_EQ(cache.put(key_of(i), std::string(8'000, 'v')), PutStatus::kStored);
  const auto behind = std::make_unique<std::string>(20'000, 'b');   // the heap's end stays in use
  const std::uint64_t full = resident_bytes();
  cache.resize(4 << 20);
  EXPECT_LE(resident_bytes() + kLeast, full);
  cache.resize(64 << 20);
  for (std::uint64_t i = 0; i < 8'000; ++i) ASSERT_NE(cache.put(key_of(i), std::string(8'000, 'v')), PutStatus::kNoSpace);
  cache.clear();
  EXPECT_LE(resident_bytes() + kLeast, full);
}

}   // namespace
}   // namespace tensorcache::cache
