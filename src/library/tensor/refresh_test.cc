// Stale values: served at once, and refreshed by one thread.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>
#include <thread>

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

TEST(Refresh, AStaleValueIsServedWhileOneRefreshRuns) {
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
  EXPECT_TRUE(eventually([&] { return cache.stats().refreshes == 1; }));
  go.set_value();
  EXPECT_TRUE(eventually([&] { return text_of(cache.get("k")) == "2"; }));
  EXPECT_FALSE(cache.get("k").stale());
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(cache.stats().refreshes, 1u);
}

TEST(Refresh, AStaleValueIsServedThoughNoRefreshCanBegin) {
  struct CopiedOnce {
    std::shared_ptr<int> copies = std::make_shared<int>(0);
    CopiedOnce() = default;
    CopiedOnce(const CopiedOnce& other) : copies(other.copies) {
      if (++*copies > 1) throw std::runtime_error("copied again");
    }
    std::optional<Tensor> operator()() const { return Tensor::text("new"); }
  };
  FakeClock clock;
  TensorCache cache({.store = {.clock = clock.function()}});
  const ComputeOptions options{{.time_to_live = 100ms, .stale_for = 1h}, {}};
  ASSERT_TRUE(cache.add("k", TensorView::text("old"), options));
  clock.advance(100ms);
  EXPECT_EQ(text_of(cache.get_or_compute("k", CopiedOnce(), options)), "old");
}

// A refresh that waits for its turn holds nobody up: not even the refresh whose turn it is.
TEST(Refresh, WhoeverNeedsWhatWaitsForItsRefreshComputesIt) {
  FakeClock clock;
  TensorCache cache({.store = {.clock = clock.function()}});
  const ComputeOptions options{{.time_to_live = 100ms, .stale_for = 100ms}, {}};
  for (const char* key : {"a", "b"}) ASSERT_TRUE(cache.add(key, TensorView::text("old"), options));
  clock.advance(150ms);
  std::promise<void> behind;
  const auto compute_a = [&] {
    behind.get_future().wait();
    clock.advance(100ms);   // "b" is gone now
    return Tensor::text("a of " + text_of(cache.get_or_compute("b", [] { return Tensor::text("b"); }, options)));
  };
  EXPECT_EQ(text_of(cache.get_or_compute("a", compute_a, options)), "old");
  EXPECT_EQ(text_of(cache.get_or_compute("b", [] { return Tensor::text("late"); }, options)), "old");
  behind.set_value();
  EXPECT_TRUE(eventually([&] { return text_of(cache.get("a")) == "a of b"; }));
  EXPECT_EQ(text_of(cache.get("b")), "b");
}

// One cache's refresh may use another of the same manager, also while that is closed.
TEST(Refresh, AManagerWaitsForRefreshesBeforeAnyCacheGoes) {
  FakeClock clock;
  auto manager = std::make_unique<CacheManager>(TensorCacheOptions{.store = {.clock = clock.function()}});
  TensorCache &first = manager->cache("a"), &second = manager->cache("b");
  const ComputeOptions options{{.time_to_live = 100ms, .stale_for = 1h}, {}};
  ASSERT_TRUE(second.add("k", TensorView::text("old"), options));
  ASSERT_TRUE(first.add("k", TensorView::text("of the first"), {}));
  clock.advance(100ms);
  std::promise<void> begun, closing;
  std::atomic<int> right{0};
  const auto compute = [&] {
    begun.set_value();
    closing.get_future().wait();
    for (int i = 0; i < 10'000; ++i) right += text_of(first.get("k")) == "of the first";
    return Tensor::text("new");
  };
  EXPECT_EQ(text_of(second.get_or_compute("k", compute, options)), "old");
  begun.get_future().wait();
  closing.set_value();
  manager.reset();
  EXPECT_EQ(right, 10'000);
}

TEST(Refresh, ALargeValueIsRefreshedWhereTwoOfItDoNotFit) {
  FakeClock clock;
  TensorCache cache({.store = {.capacity_bytes = 1 << 20, .clock = clock.function()}});
  const ComputeOptions options{{.time_to_live = 100ms, .stale_for = 1h}, {}};
  ASSERT_TRUE(cache.add("k", TensorView::text(std::string(600'000, 'o')), options));
  clock.advance(100ms);
  std::promise<void> released;   // a reader's pin would keep its room
  const auto compute = [&] {
    released.get_future().wait();
    return Tensor::text(std::string(600'000, 'n'));
  };
  EXPECT_TRUE(cache.get_or_compute("k", compute, options).stale());
  released.set_value();
  EXPECT_TRUE(eventually([&] { return cache.stats().writes == 2; }));
  EXPECT_EQ(text_of(cache.get("k")).front(), 'n');
}

TEST(Refresh, AFailedRefreshLeavesTheStaleValueAndIsTriedAgain) {
  FakeClock clock;
  TensorCache cache({.store = {.clock = clock.function()}});
  const ComputeOptions options{{.time_to_live = 100ms, .stale_for = 1h}, {}};
  ASSERT_TRUE(cache.add("k", TensorView::text("old"), options));
  clock.advance(200ms);
  EXPECT_EQ(text_of(cache.get_or_compute("k", []() -> Tensor { throw std::runtime_error("no"); }, options)), "old");
  EXPECT_TRUE(eventually([&] { return cache.stats().failed_computations == 1; }));
  EXPECT_TRUE(eventually([&] { return text_of(cache.get_or_compute("k", [] { return Tensor::text("new"); }, options)) == "new"; }));
}

}   // namespace
}   // namespace tensorcache
