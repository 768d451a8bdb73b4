// get_or_compute: one computation, handed over, refreshed, forgotten.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>
#include <thread>

#include "cache/testing.h"
#include "tensorcache/tensor_cache.h"

namespace tensorcache {
namespace {

using namespace std::chrono_literals;
using testing::FakeClock;

std::string text_of(const Hit& hit) { return hit ? std::string(hit.tensor().characters()) : "(nothing)"; }

template <class Condition>
bool soon(const Condition& condition) {
  for (int i = 0; i < 5000 && !condition(); ++i) std::this_thread::sleep_for(1ms);
  return condition();
}

TEST(Compute, OneComputesAndAllGetIt) {
  TensorCache cache({});
  std::atomic<int> computed{0}, right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const Hit hit = cache.get_or_compute("k", [&] {
        ++computed;
        std::this_thread::sleep_for(30ms);
        return Tensor::text("v");
      });
      right += text_of(hit) == "v" && hit.version() != 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(computed, 1);
  EXPECT_EQ(right, 8);
}

TEST(Compute, AFailedOneIsHandedOver) {
  TensorCache cache({});
  std::atomic<int> calls{0}, failures{0}, right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      try {
        right += text_of(cache.get_or_compute("k", [&] {
                   const int call = ++calls;
                   std::this_thread::sleep_for(30ms);
                   if (call <= 2) throw std::runtime_error("not yet");
                   return Tensor::text("v");
                 })) == "v";
      } catch (const std::runtime_error&) {
        ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 2) << "each of the caller whose function threw";
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(right, 4);
  EXPECT_EQ(cache.stats().failed_computations, 2u);
}

TEST(Compute, AStaleValueIsServedWhileOneRefreshRuns) {
  FakeClock clock;
  TensorCache cache({.store = {.clock = clock.function()}});
  const ComputeOptions options{{.time_to_live = 100ms, .stale_for = 1h}, {}};
  std::atomic<int> calls{0};
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  const auto compute = [&calls, gone] {
    if (++calls == 2) gone.wait();
    return Tensor::text(std::to_string(calls));
  };
  EXPECT_EQ(text_of(cache.get_or_compute("k", compute, options)), "1");
  clock.advance(100ms);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(text_of(cache.get_or_compute("k", compute, options)), "1") << "at once";
  EXPECT_EQ(cache.stats().refreshes, 1u);
  go.set_value();
  EXPECT_TRUE(soon([&] { return text_of(cache.get("k")) == "2"; }));
  EXPECT_FALSE(cache.get("k").stale());
  EXPECT_EQ(calls, 2);
}

TEST(Compute, AFailedRefreshLeavesTheStaleValueAndIsTriedAgain) {
  FakeClock clock;
  TensorCache cache({.store = {.clock = clock.function()}});
  const ComputeOptions options{{.time_to_live = 100ms, .stale_for = 1h}, {}};
  ASSERT_TRUE(cache.add("k", TensorView::text("old"), options));
  clock.advance(200ms);
  EXPECT_EQ(text_of(cache.get_or_compute("k", []() -> Tensor { throw std::runtime_error("no"); }, options)), "old");
  EXPECT_TRUE(soon([&] { return cache.stats().failed_computations == 1; }));
  EXPECT_TRUE(soon([&] { return text_of(cache.get_or_compute("k", [] { return Tensor::text("new"); }, options)) == "new"; }));
}

TEST(Compute, ANegativeResultIsRememberedByChoice) {
  FakeClock clock;
  TensorCache cache({.store = {.clock = clock.function()}});
  int calls = 0;
  const auto nothing = [&]() -> std::optional<Tensor> {
    ++calls;
    return std::nullopt;
  };
  EXPECT_TRUE(cache.get_or_compute("k", nothing).negative());
  EXPECT_TRUE(cache.get_or_compute("k", nothing).negative());
  EXPECT_EQ(calls, 2) << "not remembered unless asked for";
  ComputeOptions options;
  options.negative_time_to_live = 100ms;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(cache.get_or_compute("k", nothing, options).negative());
  EXPECT_EQ(calls, 3);
  clock.advance(100ms);
  EXPECT_TRUE(cache.get_or_compute("k", nothing, options).negative());
  EXPECT_EQ(calls, 4);
}

TEST(Compute, WhatIsForgottenMeanwhileIsNotServedLater) {
  TensorCache cache({});
  const auto computing = [&](const std::function<void()>& meanwhile) {
    return text_of(cache.get_or_compute("k",
                                        [&] {
                                          meanwhile();
                                          return Tensor::text("v");
                                        },
                                        {{.tags = {"t"}}, {}}));
  };
  EXPECT_EQ(computing([&] { cache.remove("k"); }), "v");
  EXPECT_FALSE(cache.get("k"));
  EXPECT_EQ(computing([&] { cache.clear(); }), "v");
  EXPECT_FALSE(cache.get("k"));
  EXPECT_EQ(computing([&] { cache.invalidate("t"); }), "v");
  EXPECT_FALSE(cache.get("k"));
  EXPECT_EQ(computing([&] { (void)cache.add("k", TensorView::text("newer")); }), "newer");
  EXPECT_EQ(text_of(cache.get("k")), "newer");
}

TEST(Compute, WhatDoesNotFitIsReturnedToAll) {
  TensorCache cache({.store = {.capacity_bytes = 1 << 20}});
  std::atomic<int> calls{0}, right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      right += text_of(cache.get_or_compute("k", [&] {
                 ++calls;
                 std::this_thread::sleep_for(50ms);
                 return Tensor::text(std::string(2 << 20, 'x'));
               })).size() == 2 << 20;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 4);
  EXPECT_LE(calls, 4);
  EXPECT_EQ(cache.size(), 0u);
}

TEST(Compute, ManyAtOnceAskForWhatIsMissingOnly) {
  TensorCache cache({});
  ASSERT_TRUE(cache.add("b", TensorView::text("B")));
  const std::vector<ItemKey> keys = {"a", "b", "c", "a"};
  const char* const values[] = {"A", "B", "C", "A"};
  std::vector<std::vector<std::size_t>> asked;
  const auto compute = [&](std::span<const std::size_t> missing) {
    asked.emplace_back(missing.begin(), missing.end());
    std::vector<Tensor> computed;
    for (const std::size_t i : missing) computed.push_back(Tensor::text(values[i]));
    return computed;
  };
  for (int round = 0; round < 2; ++round) {
    const auto hits = cache.get_or_compute_many(keys, compute);
    for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(text_of(hits[i]), values[i]);
  }
  EXPECT_EQ(asked, (std::vector<std::vector<std::size_t>>{{0, 2}}));
  const std::vector<ItemKey> other = {"z"};
  EXPECT_THROW((void)cache.get_or_compute_many(other, [](auto) { return std::vector<Tensor>(); }), std::invalid_argument);
  EXPECT_EQ(text_of(cache.get_or_compute("z", [] { return Tensor::text("Z"); })), "Z") << "the failed batch let go of it";
}

// Batches that overlap in opposite orders: none waits for another for ever, and no key is computed twice.
TEST(Compute, OverlappingBatchesDoNotLock) {
  TensorCache cache({});
  std::atomic<int> computed{0}, right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<ItemKey> keys;
      for (int i = 0; i < 50; ++i) keys.emplace_back("k" + std::to_string(t % 2 == 0 ? i : 49 - i));
      const auto hits = cache.get_or_compute_many(keys, [&](std::span<const std::size_t> missing) {
        computed += static_cast<int>(missing.size());
        std::this_thread::sleep_for(5ms);
        return std::vector<Tensor>(missing.size(), Tensor::text("v"));
      });
      right += std::all_of(hits.begin(), hits.end(), [](const Hit& hit) { return text_of(hit) == "v"; });
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 4);
  EXPECT_EQ(computed, 50);
}

}   // namespace
}   // namespace tensorcache
