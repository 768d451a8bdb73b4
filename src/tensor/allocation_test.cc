// What a TensorCache does when memory runs out: each allocation fails once, the caller gets std::bad_alloc, nobody waits for ever, and the
// cache goes on. This program replaces operator new.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "cache/testing.h"
#include "tensorcache/cache_manager.h"

namespace {

thread_local long allocations_left = -1;   // negative: all succeed

void* allocate(std::size_t size, std::size_t alignment) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}   // namespace

void* operator new(std::size_t size) { return allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(std::size_t size, std::align_val_t alignment) { return allocate(size, static_cast<std::size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace tensorcache {
namespace {

using namespace std::chrono_literals;

std::string_view text_of(const Hit& hit) { return hit ? hit.tensor().characters() : "(nothing)"; }

// Runs `operation` in a fresh cache, each time with one allocation more, until it needs no more than it has. Whether it failed half-way or
// not, the keys it used are as usable as before.
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
    bool failed = false;
    allocations_left = allowed;
    try {
      operation(cache);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    failed = failed || allocations_left == 0;
    allocations_left = -1;
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
