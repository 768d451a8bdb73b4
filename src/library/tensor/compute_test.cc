// get_or_compute: one computation, handed over, forgotten.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>
#include <thread>

#include "base/core/waits.h"
#include "testing/store/cache.h"
#include "testing/library/tensor.h"
#include "tensorcache/cache_manager.h"
#include "testing/core/eventually.h"

namespace tensorcache {
namespace {

using namespace std::chrono_literals;
using testing::eventually;
using testing::FakeClock;
using testing::text_of;

TEST(Compute, OneComputesAndAllGetIt) {
  TensorCache cache({});
  std::atomic<int> computed{0}, right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const Hit hit = cache.get_or_compute("k", [&] {
        ++computed;
        EXPECT_TRUE(eventually([] { return waiting_threads() == 7; }));
        return Tensor::text("v");
      });
      right += text_of(hit) == "v" && hit.version() != 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(computed, 1);
  EXPECT_EQ(right, 8);
}

TEST(Compute, WhoWaitsIsCountedApartFromMisses) {
  TensorCache cache({});
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&, i] {
      const std::string key = "k" + std::to_string(i % 3);
      (void)cache.get_or_compute(key, [&] {
        gone.wait();
        return Tensor::text("v");
      });
    });
  }
  EXPECT_TRUE(eventually([] { return waiting_threads() == 9; }));
  go.set_value();
  for (auto& thread : threads) thread.join();
  TensorCacheStats stats = cache.stats();
  EXPECT_EQ(stats.misses, 3u);
  EXPECT_EQ(stats.computations, 3u);
  EXPECT_EQ(stats.hits, 0u);
  EXPECT_EQ(stats.waits, 9u);

  const std::uint64_t lookups = stats.hits + stats.misses + stats.waits;
  const std::vector<ItemKey> keys = {"k0", "new", "new", "other"};
  (void)cache.get_or_compute_many(keys, [](std::span<const std::size_t> missing) {
    std::vector<Tensor> made;
    for (std::size_t i = 0; i < missing.size(); ++i) made.push_back(Tensor::text("v"));
    return made;
  });
  stats = cache.stats();
  EXPECT_EQ(stats.misses, 5u);
  EXPECT_EQ(stats.hits + stats.misses + stats.waits, lookups + keys.size()) << "each key that is asked for counts once";
  EXPECT_FALSE(cache.probe("nothing"));
  EXPECT_TRUE(cache.probe("new"));
  EXPECT_EQ(cache.stats().misses, 5u);
  EXPECT_EQ(cache.stats().hits, stats.hits + 1);
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
                   EXPECT_TRUE(eventually([&] { return waiting_threads() == 6u - static_cast<unsigned>(call); }));
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

TEST(Compute, WhereAllFailEachGetsTheExceptionAndNothingIsStored) {
  TensorCache cache({});
  std::atomic<int> calls{0}, failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      try {
        (void)cache.get_or_compute("k", [&]() -> Tensor {
          const int call = ++calls;
          EXPECT_TRUE(eventually([&] { return waiting_threads() == 6u - static_cast<unsigned>(call); }));
          throw std::runtime_error("no");
        });
      } catch (const std::runtime_error&) {
        ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 6);
  EXPECT_EQ(calls, 6) << "each of its own";
  EXPECT_EQ(cache.size(), 0u);
}

TEST(Compute, WrongOptionsAreNamedBeforeAnythingIsComputed) {
  TensorCache cache({});
  int calls = 0;
  const auto compute = [&] {
    ++calls;
    return Tensor::text("v");
  };
  const std::vector<ItemKey> keys = {"k"};
  const auto many = [&](auto) { return std::vector<Tensor>{compute()}; };
  const AddOptions wrong[] = {{.time_to_live = -1ms}, {.stale_for = -1ms}, {.tags = std::vector<std::string>(17, "t")}};
  for (const AddOptions& options : wrong) {
    EXPECT_THROW((void)cache.get_or_compute("k", compute, {options, {}}), std::invalid_argument);
    EXPECT_THROW((void)cache.get_or_compute_many(keys, many, options), std::invalid_argument);
  }
  EXPECT_THROW((void)cache.get_or_compute("k", compute, {{}, -1ms}), std::invalid_argument);
  EXPECT_EQ(calls, 0);
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

TEST(Compute, WhoeverAsksAfterAnInvalidationDoesNotGetWhatBeganBefore) {
  TensorCache cache({});
  const ComputeOptions options{{.tags = {"t"}}, {}};
  const std::vector<ItemKey> keys = {"k"};
  std::promise<void> begun, go;
  auto first = std::async(std::launch::async, [&] {
    return text_of(cache.get_or_compute(
        "k",
        [&] {
          begun.set_value();
          go.get_future().wait();
          return Tensor::text("old");
        },
        options));
  });
  begun.get_future().wait();
  cache.invalidate("t");
  auto second = std::async(std::launch::async, [&] { return text_of(cache.get_or_compute("k", [] { return Tensor::text("new"); }, options)); });
  auto third = std::async(std::launch::async, [&] {
    return text_of(cache.get_or_compute_many(keys, [](auto) { return std::vector<Tensor>{Tensor::text("new")}; }, options).front());
  });
  EXPECT_TRUE(eventually([] { return waiting_threads() == 2; }));
  go.set_value();
  EXPECT_EQ(first.get(), "old");
  EXPECT_EQ(second.get(), "new");
  EXPECT_EQ(third.get(), "new");
  EXPECT_EQ(text_of(cache.get("k")), "new");
}

TEST(Compute, WhatDoesNotFitIsReturnedToAll) {
  TensorCache cache({.store = {.capacity_bytes = 1 << 20}});
  std::atomic<int> calls{0}, right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      right += text_of(cache.get_or_compute("k", [&] {
                 ++calls;
                 EXPECT_TRUE(eventually([] { return waiting_threads() == 3; }));
                 return Tensor::text(std::string(2 << 20, 'x'));
               })).size() == 2 << 20;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 4);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(cache.size(), 0u);
}

TEST(Compute, WhatIsNotStoredHasNoVersion) {
  TensorCache cache({.store = {.capacity_bytes = 1 << 20}});
  ASSERT_TRUE(cache.add("a", TensorView::text(std::string(600'000, 'x'))));
  const Hit pinned = cache.get("a");
  const Hit unfit = cache.get_or_compute("k", [] { return Tensor::text(std::string(600'000, 'x')); });
  EXPECT_EQ(text_of(unfit).size(), 600'000u);
  EXPECT_EQ(unfit.version(), 0u);
  EXPECT_TRUE(cache.put_if_version("k", unfit.version(), TensorView::text("small")));
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

TEST(Compute, ManyAtOnceRefreshWhatIsStale) {
  FakeClock clock;
  TensorCache cache({.store = {.clock = clock.function()}});
  const AddOptions options{.time_to_live = 100ms, .stale_for = 1h};
  const std::vector<ItemKey> keys = {"a", "b"};
  ASSERT_TRUE(cache.add("b", TensorView::text("old"), options));
  clock.advance(100ms);
  const auto compute = [](std::span<const std::size_t> missing) {
    std::vector<Tensor> computed;
    for (const std::size_t i : missing) computed.push_back(Tensor::text("new " + std::to_string(i)));
    return computed;
  };
  const auto hits = cache.get_or_compute_many(keys, compute, options);
  EXPECT_EQ(text_of(hits[0]), "new 0");
  EXPECT_EQ(text_of(hits[1]), "old");
  EXPECT_TRUE(eventually([&] { return text_of(cache.get("b")) == "new 1"; }));
}

TEST(Compute, WhatIsThereTwiceInABatchIsComputedOnce) {
  TensorCache cache({.store = {.capacity_bytes = 1 << 20}});
  const std::vector<ItemKey> keys = {"k", "k"};
  std::promise<void> begun, go;
  Tensor large = Tensor::text(std::string(2 << 20, 'x'));
  auto other = std::async(std::launch::async, [&] {
    return cache.get_or_compute("k", [&] {
      begun.set_value();
      go.get_future().wait();
      return large;
    });
  });
  begun.get_future().wait();
  auto batch = std::async(std::launch::async, [&] {
    int calls = 0;
    const auto hits = cache.get_or_compute_many(keys, [&](std::span<const std::size_t> missing) {
      ++calls;
      return std::vector<Tensor>(missing.size(), large);
    });
    EXPECT_EQ(hits[1].tensor().count(), large.view().count());
    return calls;
  });
  EXPECT_TRUE(eventually([] { return waiting_threads() == 1; })) << "the batch waits for the other";
  go.set_value();
  EXPECT_TRUE(other.get());
  EXPECT_EQ(batch.get(), 0);
}

// Batches that overlap in opposite orders: none waits for another for ever, and no key is computed
// twice.
TEST(Compute, OverlappingBatchesDoNotLock) {
  TensorCache cache({});
  std::atomic<int> computing{0}, computed{0}, right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<ItemKey> keys;
      for (int i = 0; i < 50; ++i) keys.emplace_back("k" + std::to_string(t % 2 == 0 ? i : 49 - i));
      const auto hits = cache.get_or_compute_many(keys, [&](std::span<const std::size_t> missing) {
        computed += static_cast<int>(missing.size());
        ++computing;
        EXPECT_TRUE(eventually([&] { return static_cast<std::size_t>(computing) + waiting_threads() >= 4; })) << "all overlap";
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
