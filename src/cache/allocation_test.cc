// Fails the n-th allocation for n = 1, 2, ...: the only answers are std::bad_alloc and a PutStatus, the budget stays exact,
// and the cache goes on.
#include "cache/failing_allocations.h"
#include "cache/testing.h"
#include "tensorcache/cache.h"

namespace tensorcache {
namespace {

using namespace tensorcache::testing;

// Runs `operation` in a filled cache, each time with one allocation more, until it needs no more than it has.
template <class Operation>
void fail_each_allocation(const Operation& operation) {
  int failures = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 1000);
    SCOPED_TRACE(allowed);
    Cache cache({.capacity_bytes = 4 << 20});
    for (std::uint64_t i = 0; i < 200; ++i) ASSERT_EQ(cache.put(key_of(i), value_of(i, i * 60)), PutStatus::kStored);
    const bool failed = runs_out(allowed, [&] { operation(cache); });
    failures += failed ? 1 : 0;

    EXPECT_LE(cache.stats().peak_bytes, 4u << 20);
    EXPECT_EQ(cache.get_or_compute(key_of(5000), [] { return std::vector<std::byte>(7); }).bytes().size(), 7u) << "it goes on";
    cache.clear();
    EXPECT_EQ(cache.stats().used_bytes, 0u) << "no charge is lost";
    if (!failed) break;
  }
  EXPECT_GT(failures, 0);
}

TEST(FailingAllocation, OfPut) {
  const std::string small(100, 's'), large(300'000, 'l');
  const Key keys[] = {key_of(1001), key_of(1002), key_of(1003)};
  fail_each_allocation([&](Cache& cache) {
    EXPECT_EQ(cache.put(keys[0], small), PutStatus::kStored);
    EXPECT_EQ(cache.put(keys[1], large, {.parent = keys[0]}), PutStatus::kStored);
    EXPECT_EQ(cache.put(keys[2], large, {.parent = keys[1]}), PutStatus::kStored);
  });
}

TEST(FailingAllocation, OfGrowth) {
  // The index grows several times; without memory for that it only gets slower.
  std::vector<Key> keys;
  for (std::uint64_t i = 0; i < 100; ++i) keys.push_back(key_of(2000 + i));
  fail_each_allocation([&](Cache& cache) {
    for (const Key& key : keys) EXPECT_EQ(cache.put(key, "x"), PutStatus::kStored);
  });
}

TEST(FailingAllocation, OfGetOrCompute) {
  const Key stored = key_of(3000), unfit = key_of(3001);
  fail_each_allocation([&](Cache& cache) {
    (void)cache.get_or_compute(stored, [] { return std::vector<std::byte>(1000); });
    (void)cache.get_or_compute(unfit, [] { return std::vector<std::byte>(5 << 20); });
  });
}

TEST(FailingAllocation, OfMatchAndList) {
  std::vector<Key> keys;
  for (std::uint64_t i = 0; i < 50; ++i) keys.push_back(key_of(i));
  fail_each_allocation([&](Cache& cache) {
    (void)cache.match(keys);
    (void)cache.list(std::nullopt, 20);
  });
}

TEST(FailingAllocation, ForgettingNeedsNone) {
  Cache cache({});
  const auto keys = keys_of_chain(1, 100);
  put_chain(cache, keys, 100);
  ASSERT_EQ(cache.put(key_of(1), value_of(1, 1 << 20)), PutStatus::kStored);
  allocations_left = 0;
  const bool removed = cache.remove(keys[50]);
  cache.resize(0);
  const std::uint64_t cleared = cache.clear();
  allocations_left = -1;
  EXPECT_TRUE(removed);
  EXPECT_EQ(cleared, 0u);
  EXPECT_EQ(cache.stats().used_bytes, 0u);
}

}   // namespace
}   // namespace tensorcache
