// Computations that need each other, and the one that takes over from a leader that failed.
#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <stdexcept>
#include <thread>

#include "base/core/waits.h"
#include "testing/core/eventually.h"
#include "testing/library/tensor.h"
#include "tensorcache/cache_manager.h"

namespace tensorcache {
namespace {

using namespace std::chrono_literals;
using testing::text_of;

TEST(Circle, AskingForTheKeyBeingComputedIsAnError) {
  TensorCache cache({});
  const auto own = [&] { return Tensor::text(text_of(cache.get_or_compute("k", [] { return Tensor::text("never"); }))); };
  EXPECT_THROW((void)cache.get_or_compute("k", own), std::logic_error);
  const std::vector<ItemKey> keys = {"a", "b"};
  const auto batch = [&](std::span<const std::size_t> missing) {
    (void)cache.get_or_compute("b", [] { return Tensor::text("never"); });
    return std::vector<Tensor>(missing.size(), Tensor::text("never"));
  };
  EXPECT_THROW((void)cache.get_or_compute_many(keys, batch), std::logic_error);
  for (const char* key : {"k", "a", "b"}) EXPECT_EQ(text_of(cache.get_or_compute(key, [] { return Tensor::text("v"); })), "v");
}

// A batch of a and b needs c; the thread that computes c needs a.
TEST(Circle, ABatchAndASingleCallThatNeedEachOtherEnd) {
  TensorCache cache({});
  std::latch both_lead(2);
  auto single = std::async(std::launch::async, [&] {
    return text_of(cache.get_or_compute("c", [&] {
      both_lead.arrive_and_wait();
      return Tensor::text("c of " + text_of(cache.get_or_compute("a", [] { return Tensor::text("a"); })));
    }));
  });
  const std::vector<ItemKey> keys = {"a", "b"};
  const auto hits = cache.get_or_compute_many(keys, [&](std::span<const std::size_t> missing) {
    both_lead.arrive_and_wait();
    const std::string c = text_of(cache.get_or_compute("c", [] { return Tensor::text("c of a"); }));
    EXPECT_EQ(c, "c of a");
    std::vector<Tensor> results;
    for (const std::size_t i : missing) results.push_back(Tensor::text(i == 0 ? "a" : "b"));
    return results;
  });
  ASSERT_EQ(single.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(single.get(), "c of a");
  EXPECT_EQ(text_of(hits[0]), "a");
  EXPECT_EQ(text_of(hits[1]), "b");
}

TEST(Circle, ItIsSeenOverSeveralCaches) {
  CacheManager manager({});
  std::latch both_lead(2);
  std::atomic<int> alone{0};
  const auto ask = [&](const std::string& first, const std::string& second) {
    return text_of(manager.cache(first).get_or_compute("k", [&] {
      both_lead.arrive_and_wait();
      (void)manager.cache(second).get_or_compute("k", [&] {
        ++alone;
        return Tensor::text("alone");
      });
      return Tensor::text("v");
    }));
  };
  auto other = std::async(std::launch::async, [&] { return ask("one", "two"); });
  EXPECT_NE(ask("two", "one"), "(nothing)");
  ASSERT_EQ(other.wait_for(20s), std::future_status::ready);
  EXPECT_NE(other.get(), "(nothing)");
  EXPECT_GE(alone, 1);
}

// The key is removed while the first leader computes, and that one fails: what the next one
// computes began after the removal.
TEST(Circle, WhatIsComputedAfterARemovalIsStored) {
  TensorCache cache({});
  std::latch leads(1);
  std::promise<void> go;
  std::thread first([&] {
    EXPECT_THROW((void)cache.get_or_compute("k",
                                            [&]() -> Tensor {
                                              leads.count_down();
                                              go.get_future().wait();
                                              throw std::runtime_error("no");
                                            }),
                 std::runtime_error);
  });
  leads.wait();
  std::vector<std::thread> waiters;
  std::atomic<int> right{0};
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] { right += text_of(cache.get_or_compute("k", [] { return Tensor::text("v"); })) == "v"; });
  }
  EXPECT_TRUE(testing::eventually([] { return waiting_threads() == 3; }));
  cache.remove("k");
  go.set_value();
  first.join();
  for (auto& waiter : waiters) waiter.join();
  EXPECT_EQ(right, 3);
  EXPECT_EQ(text_of(cache.get("k")), "v");
}

}   // namespace
}   // namespace tensorcache
