// What a TensorCache does when memory runs out: each allocation fails once, the caller gets
// std::bad_alloc, nobody waits for ever, and the cache goes on.
#include <gtest/gtest.h>

#include "testing/core/failing_allocations.h"
#include "testing/store/cache.h"
#include "testing/library/tensor.h"
#include "tensorcache/cache_manager.h"

namespace tensorcache {
namespace {

using testing::text_of;
using namespace std::chrono_literals;

// Runs `operation` in a fresh cache, each time with one allocation more, until it needs no more
// than it has. Whether it failed half-way or not, the keys it used are as usable as before.
template <class Operation>
void fail_each_allocation(const Operation& operation) {
  int failures = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 1000);
    SCOPED_TRACE(allowed);
    testing::FakeClock clock;
    TensorCache cache({.store = {.capacity_bytes = 1 << 20, .clock = clock.function()}, .capacity_entries = 3});
    for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(cache.add(key, TensorView::text("old"), {.time_to_live = 100ms, .stale_for = 1h}));
    clock.advance(100ms);
    const bool failed = runs_out(allowed, [&] { operation(cache); });
    failures += failed ? 1 : 0;

    for (const char* key : {"a", "b", "k"}) {
      EXPECT_TRUE(cache.lease(key, 1s, 1s));
      EXPECT_TRUE(cache.add(key, TensorView::text("new"), {.tags = {"t"}}));
      EXPECT_EQ(text_of(cache.get(key)), "new");
    }
    EXPECT_LE(cache.size(), 3u);
    EXPECT_TRUE(cache.invalidate("t"));
    EXPECT_EQ(text_of(cache.get_or_compute("k", [] { return Tensor::text("computed"); })), "computed");
    EXPECT_TRUE(cache.remove("k"));
    cache.clear();
    EXPECT_EQ(cache.size(), 0u);
    EXPECT_EQ(text_of(cache.get_or_compute("a", [] { return Tensor::text("computed"); })), "computed");
    if (!failed) break;
  }
  EXPECT_GT(failures, 0);
}

TEST(FailingAllocation, OfWrites) {
  const AddOptions options{.tags = {"t", "a tag with a name that is not short"}};
  const ItemKey fresh = "k", there = "a";
  fail_each_allocation([&](TensorCache& cache) {
    (void)cache.add(fresh, TensorView::text("new"), options);
    (void)cache.put_if_version(there, cache.get(there).version(), TensorView::text("new"), options);
    (void)cache.invalidate("t");
    (void)cache.add_negative(there, {});
    (void)cache.remove(fresh);
  });
}

TEST(FailingAllocation, OfLeases) {
  const ItemKey key = "k";
  fail_each_allocation([&](TensorCache& cache) {
    const Lease lease = cache.lease(key, 0ms, 10s);
    (void)cache.add(lease, TensorView::text("new"));
  });
}

TEST(FailingAllocation, OfComputations) {
  const ItemKey fresh = "k", stale = "a";
  Tensor small = Tensor::text("new"), large = Tensor::text(std::string(2 << 20, 'x'));
  const std::vector<ItemKey> many = {"b", "k", "l", "k"};
  fail_each_allocation([&](TensorCache& cache) {
    (void)cache.get_or_compute(fresh, [&] { return small; });
    (void)cache.get_or_compute(stale, [&] { return small; });
    cache.remove(fresh);
    (void)cache.get_or_compute(fresh, [&] { return large; });
    (void)cache.get_or_compute_many(many, [&](std::span<const std::size_t> missing) { return std::vector<Tensor>(missing.size(), small); });
  });
}

}   // namespace
}   // namespace tensorcache
