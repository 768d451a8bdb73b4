// get_or_compute: one computation per key at a time.
#include <latch>
#include <stdexcept>
#include <thread>

#include "base/core/waits.h"
#include "testing/core/eventually.h"
#include "testing/store/cache.h"
#include "tensorcache/cache.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// Runs `body(i)` in so many threads and waits for all.
template <class Body>
void in_threads(int count, const Body& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

TEST(GetOrCompute, ComputesOnceAndStores) {
  Cache cache({});
  int computed = 0;
  const auto compute = [&] {
    ++computed;
    return bytes_of("value");
  };
  for (int i = 0; i < 3; ++i) {
    const Handle handle = cache.get_or_compute(key_of(1), compute, {.kind = Kind::kTensor, .owner = 5});
    EXPECT_EQ(handle.text(), "value");
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(handle.bytes().data()) % 64, 0u);
  }
  EXPECT_EQ(computed, 1);
  EXPECT_EQ(cache.stats(5).kinds[static_cast<int>(Kind::kTensor)].entries, 1u);
  EXPECT_EQ(cache.stats().hits, 2u);
  EXPECT_EQ(cache.stats().misses, 1u);
}

TEST(GetOrCompute, OneOfManyThreadsComputes) {
  Cache cache({});
  std::atomic<int> computed = 0;
  std::latch together(8);
  in_threads(8, [&](int) {
    together.arrive_and_wait();
    const Handle handle = cache.get_or_compute(key_of(1), [&] {
      ++computed;
      EXPECT_TRUE(eventually([] { return waiting_threads() == 7; }));
      return bytes_of("value");
    });
    EXPECT_EQ(handle.text(), "value");
  });
  EXPECT_EQ(computed, 1);
}

TEST(GetOrCompute, KeysDoNotWaitForEachOther) {
  Cache cache({});
  std::latch both_computing(2);   // would never be reached if one waited for the other
  in_threads(2, [&](int i) {
    (void)cache.get_or_compute(key_of(static_cast<std::uint64_t>(i)), [&] {
      both_computing.arrive_and_wait();
      return bytes_of("x");
    });
  });
  EXPECT_EQ(entries(cache.stats()), 2u);
}

TEST(GetOrCompute, AThrowReachesItsCallerAlone) {
  Cache cache({});
  EXPECT_THROW((void)cache.get_or_compute(key_of(1), []() -> std::vector<std::byte> { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_FALSE(cache.contains(key_of(1)));
  EXPECT_EQ(cache.get_or_compute(key_of(1), [] { return bytes_of("yes"); }).text(), "yes");
}

TEST(GetOrCompute, AFailedLeaderHandsOverToExactlyOne) {
  Cache cache({});
  constexpr int kThreads = 8, kFailures = 3;
  std::atomic<int> attempts = 0, at_once = 0, failed = 0, served = 0;
  std::latch together(kThreads);
  in_threads(kThreads, [&](int) {
    together.arrive_and_wait();
    try {
      const Handle handle = cache.get_or_compute(key_of(1), [&] {
        EXPECT_EQ(++at_once, 1) << "two computed at the same time";
        const int attempt = ++attempts;
        EXPECT_TRUE(eventually([&] { return waiting_threads() == static_cast<std::size_t>(kThreads - attempt); }));
        --at_once;
        if (attempt <= kFailures) throw std::runtime_error("attempt " + std::to_string(attempt));
        return bytes_of("value");
      });
      EXPECT_EQ(handle.text(), "value");
      ++served;
    } catch (const std::runtime_error&) {
      ++failed;
    }
  });
  EXPECT_EQ(attempts, kFailures + 1);
  EXPECT_EQ(failed, kFailures);
  EXPECT_EQ(served, kThreads - kFailures);
}

TEST(GetOrCompute, ManyFailuresLeaveNothingBehind) {
  Cache cache({});
  std::atomic<int> thrown = 0;
  in_threads(4, [&](int) {
    for (std::uint64_t i = 0; i < 500; ++i) {
      try {
        (void)cache.get_or_compute(key_of(i % 3), []() -> std::vector<std::byte> { throw std::runtime_error("no"); });
      } catch (const std::runtime_error&) {
        ++thrown;
      }
    }
  });
  EXPECT_EQ(thrown, 2000) << "everybody's own exception";
  EXPECT_EQ(cache.stats().used_bytes, 0u);
}

TEST(GetOrCompute, WhatDoesNotFitIsReturnedAllTheSameToAllWhoWait) {
  FakeClock clock;
  Cache cache({.capacity_bytes = 10'000, .clock = clock.function()});
  const std::string large = value_of(1, 1 << 20);
  std::atomic<int> computed = 0;
  std::latch together(4);
  in_threads(4, [&](int) {
    together.arrive_and_wait();
    const Handle handle = cache.get_or_compute(key_of(1), [&] {
      ++computed;
      EXPECT_TRUE(eventually([] { return waiting_threads() == 3; }));
      return bytes_of(large);
    });
    EXPECT_EQ(handle.text(), large);
    EXPECT_EQ(handle.age(), milliseconds(0));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(handle.bytes().data()) % 64, 0u);
  });
  EXPECT_EQ(computed, 1);
  EXPECT_FALSE(cache.contains(key_of(1)));
  EXPECT_EQ(cache.stats().used_bytes, 0u);
  EXPECT_EQ(cache.get_or_compute(key_of(2), [] { return bytes_of("orphan"); }, {.parent = key_of(3)}).text(), "orphan");
}

TEST(GetOrCompute, MayAskForOtherKeysMeanwhile) {
  Cache cache({});
  const Handle outer = cache.get_or_compute(key_of(1), [&] {
    const Handle inner = cache.get_or_compute(key_of(2), [] { return bytes_of("inner"); });
    return bytes_of("outer of " + std::string(inner.text()));
  });
  EXPECT_EQ(outer.text(), "outer of inner");
}

TEST(GetOrCompute, AMiddlePutWins) {
  Cache cache({});
  const Handle handle = cache.get_or_compute(key_of(1), [&] {
    EXPECT_EQ(cache.put(key_of(1), "faster"), PutStatus::kStored);
    return bytes_of("slower");
  });
  EXPECT_EQ(handle.text(), "faster");
}

TEST(GetOrCompute, AComputationThatAsksForItsOwnKeyIsAnError) {
  Cache cache({});
  const auto compute = [&] {
    static_cast<void>(cache.get_or_compute(key_of(1), [] { return bytes_of("never"); }));
    return bytes_of("never");
  };
  EXPECT_THROW(static_cast<void>(cache.get_or_compute(key_of(1), compute)), std::logic_error);
  EXPECT_EQ(cache.get_or_compute(key_of(1), [] { return bytes_of("value"); }).text(), "value");
}

TEST(GetOrCompute, ComputationsThatNeedEachOtherInACircleEnd) {
  Cache cache({});
  constexpr int kThreads = 3;
  std::latch all_lead(kThreads);
  std::atomic<int> ended{0};
  in_threads(kThreads, [&](int i) {
    const Handle handle = cache.get_or_compute(key_of(static_cast<std::uint64_t>(i)), [&] {
      all_lead.arrive_and_wait();
      const auto next = static_cast<std::uint64_t>((i + 1) % kThreads);
      const Handle other = cache.get_or_compute(key_of(next), [] { return bytes_of("alone"); });
      return bytes_of(other.text() == "alone" ? "from alone" : "from another");
    });
    EXPECT_TRUE(handle);
    ++ended;
  });
  EXPECT_EQ(ended, kThreads);
  for (std::uint64_t i = 0; i < kThreads; ++i) EXPECT_TRUE(cache.get(key_of(i)));
}

}   // namespace
}   // namespace tensorcache::cache
