#include "library/tensor/leases.h"

#include <gtest/gtest.h>

#include <future>
#include <optional>
#include <thread>

#include "testing/library/tensor.h"
#include "tensorcache/tensor_cache.h"

namespace tensorcache {
namespace {

using testing::text_of;
using namespace std::chrono_literals;

TEST(Leases, OneIsOnesAtATime) {
  TensorCache cache({});
  Lease first = cache.lease("k", 0ms, 10s);
  ASSERT_TRUE(first);
  EXPECT_FALSE(cache.lease("k", 5ms, 10s));
  EXPECT_TRUE(cache.lease("other", 0ms, 10s));
  auto waiting = std::async(std::launch::async, [&] { return cache.lease("k", 20s, 10s); });
  ASSERT_TRUE(cache.add(first, TensorView::text("mine")));
  first.release();
  Lease second = waiting.get();
  EXPECT_TRUE(second);
  EXPECT_FALSE(first);
  EXPECT_EQ(cache.add(first, TensorView::text("late")).status, WriteStatus::kLeaseLost);
  EXPECT_EQ(text_of(cache.get("k")), "mine");
}

TEST(Leases, OneRunsOut) {
  TensorCache cache({});
  const Lease lost = cache.lease("k", 0ms, 20ms);
  const Lease next = cache.lease("k", 20s, 20s);   // whoever held it never gave it back
  EXPECT_TRUE(next);
  EXPECT_FALSE(lost);
  EXPECT_EQ(cache.add(lost, TensorView::text("late")).status, WriteStatus::kLeaseLost);
  EXPECT_TRUE(cache.add(next, TensorView::text("v")));
  EXPECT_FALSE(cache.add(Lease(), TensorView::text("v")));
}

// Of several who wait one gets it; the others must not sleep as long as the one before might have
// held it.
TEST(Leases, OneThatRunsOutIsGotByTheNextAtOnce) {
  TensorCache cache({});
  Lease first = cache.lease("k", 0ms, 60s);
  const auto wait = [&] {
    Lease lease = cache.lease("k", 20s, 20ms);
    return std::pair(std::move(lease), std::chrono::steady_clock::now());
  };
  auto one = std::async(std::launch::async, wait), other = std::async(std::launch::async, wait);
  std::this_thread::sleep_for(50ms);
  first.release();
  const auto [lease, at] = one.get();
  const auto [next, then] = other.get();
  EXPECT_LT(at < then ? then - at : at - then, 5s);
}

// Whoever has the lease sees what was written under the one before.
TEST(Leases, OneDoesNotRunOutInTheMiddleOfItsWrite) {
  tensor::Leases leases;
  const Key key = Key::of("k");
  for (auto hold = 20ms;; hold *= 2) {
    const std::uint64_t token = leases.take(key, 0ms, hold);
    std::optional<tensor::Leases::Write> write(std::in_place, leases, key, token);
    if (!*write) continue;   // this thread was held up for so long
    std::this_thread::sleep_for(hold);
    EXPECT_EQ(leases.take(key, 1ms, 10s), 0u);
    auto next = std::async(std::launch::async, [&] { return leases.take(key, 20s, 10s); });
    write.reset();
    EXPECT_GT(next.get(), token);
    EXPECT_FALSE(leases.holds(key, token)) << "it has run out since";
    EXPECT_FALSE(tensor::Leases::Write(leases, key, token));
    break;
  }
}

}   // namespace
}   // namespace tensorcache
