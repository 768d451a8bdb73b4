// Fails the n-th allocation for n = 1, 2, ...: the only answers are std::bad_alloc and a PutStatus,
// the budget stays exact, and the cache goes on.
#include <sys/mman.h>

#include <future>

#include "testing/core/failing_allocations.h"
#include "testing/store/cache.h"
#include "store/policy/policy.h"
#include "tensorcache/cache.h"
#include "store/memory/memory_tier.h"

namespace {

thread_local long calls_left = -1;   // of mmap and madvise; negative: all succeed

bool may_call() { return calls_left < 0 || (calls_left > 0 && calls_left-- > 0); }

}   // namespace

// The linker leads the tier's system calls here (CMakeLists.txt).
extern "C" {
void* __real_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset);
int __real_madvise(void* at, std::size_t size, int advice);
void* __wrap_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset) {
  return may_call() ? __real_mmap(at, size, protection, flags, file, offset) : MAP_FAILED;
}
int __wrap_madvise(void* at, std::size_t size, int advice) { return may_call() ? __real_madvise(at, size, advice) : -1; }
}

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

constexpr std::uint64_t kCapacity = 4 << 20;

// Another thread can read, store and remove every key, and waits for nobody for ever.
void expect_it_goes_on(Cache& cache) {
  auto other = std::async(std::launch::async, [&] {
    for (std::uint64_t i = 0; i < 210; i += 6) {
      (void)cache.get(key_of(i));
      (void)cache.remove(key_of(i));
      EXPECT_EQ(cache.put(key_of(i), "value"), PutStatus::kStored) << i;
      EXPECT_EQ(cache.get(key_of(i)).text(), "value") << i;
    }
  });
  if (other.wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
    ADD_FAILURE() << "a key hangs";
    std::abort();
  }
}

// In a filled cache, part of it a chain, after an operation that ran out of something.
void fill(Cache& cache) {
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_EQ(cache.put(key_of(i), value_of(i, i * 60)), PutStatus::kStored);
  for (std::uint64_t i = 200; i < 205; ++i) {
    PutOptions options{.kind = Kind::kPrefixBlock, .owner = 3};
    if (i > 200) options.parent = key_of(i - 1);
    ASSERT_EQ(cache.put(key_of(i), value_of(i, i == 204 ? 300'000 : 1000), options), PutStatus::kStored);
  }
}
void expect_honest(Cache& cache, const Cache& fresh) {
  EXPECT_LE(cache.stats().peak_bytes, kCapacity);
  expect_it_goes_on(cache);
  EXPECT_EQ(cache.get_or_compute(key_of(5000), [] { return std::vector<std::byte>(7); }).bytes().size(), 7u) << "it goes on";
  cache.clear();
  EXPECT_EQ(cache.stats().used_bytes, fresh.stats().used_bytes) << "no charge is lost";
}

// Runs `operation` in a filled cache, each time with one allocation more, until it needs no more
// than it has.
template <class Operation>
void fail_each_allocation(const Operation& operation, const char* policy = "lru") {
  int failures = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 1000);
    SCOPED_TRACE(allowed);
    Cache cache({.capacity_bytes = kCapacity, .policy = policy});
    fill(cache);
    const bool failed = runs_out(allowed, [&] { operation(cache); });
    failures += failed ? 1 : 0;
    expect_honest(cache, Cache({.capacity_bytes = kCapacity, .policy = policy}));
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

// All that a cache is asked, one after the other, so that each site fails once.
void everything(Cache& cache) {
  std::vector<Key> chain;
  for (std::uint64_t i = 200; i < 205; ++i) chain.push_back(key_of(i));
  cache.advise(chain, {.keep_for = milliseconds(60'000)});
  cache.advise(chain, {.priority = 70});
  (void)cache.match(chain);
  cache.demote(chain);
  const Handle pin = cache.get(key_of(7));
  PutOptions kept{.replaces = true};
  kept.hints.keep_for = milliseconds(60'000);
  EXPECT_NE(cache.put(key_of(7), std::string(200'000, 'r'), kept), PutStatus::kTooLarge);
  {
    const Reservation dropped = cache.reserve(key_of(1000), 500'000, {.parent = chain.back()});
  }
  (void)cache.list(std::nullopt, 20);
  (void)cache.stats(3);
  for (std::uint64_t i = 0; i < 20; ++i) (void)cache.put(key_of(2000 + i), std::string(250'000, 'e'));
  (void)cache.remove(key_of(2019));
  (void)cache.remove(chain.front());
  (void)cache.clear(3);
  cache.resize(kCapacity / 16);
  cache.resize(kCapacity);
}

TEST(FailingAllocation, OfEverything) {
  for (const char* policy : {"lru", "auto"}) {
    SCOPED_TRACE(policy);
    fail_each_allocation(everything, policy);
  }
}

TEST(FailingSystemCall, OfEverything) {
  int failures = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 1000);
    SCOPED_TRACE(allowed);
    Cache cache({.capacity_bytes = kCapacity});
    fill(cache);
    calls_left = allowed;
    try {
      everything(cache);
    } catch (const std::bad_alloc&) {
    }
    const bool failed = calls_left == 0;
    calls_left = -1;
    failures += failed ? 1 : 0;
    expect_honest(cache, Cache({.capacity_bytes = kCapacity}));
    if (!failed) break;
  }
  EXPECT_GT(failures, 5);
}

TEST(FailingAllocation, OfLoading) {
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 100);
    SCOPED_TRACE(allowed);
    const auto tier = memory::MemoryTier::make(kCapacity, policy::make_policy("lru"), [] { return std::chrono::steady_clock::now(); });
    const bool failed = runs_out(allowed, [&] {
      for (std::uint64_t i = 0; i < 20; ++i) {
        Reservation draft = tier->reserve(key_of(i), i % 2 == 0 ? 100 : 200'000, i == 0 ? PutOptions() : PutOptions{.parent = key_of(i - 1)});
        (void)tier->commit_aged(std::move(draft), milliseconds(5), milliseconds(60'000));
      }
    });
    EXPECT_EQ(tier->put(key_of(100), {}, {}), PutStatus::kStored);
    (void)tier->clear(std::nullopt);
    EXPECT_EQ(tier->stats().used_bytes, 0u);
    if (!failed) break;
  }
}

}   // namespace
}   // namespace tensorcache::cache
