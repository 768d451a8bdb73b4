#include "library/tensor/leases.h"

#include <gtest/gtest.h>

#include <future>
#include <optional>
#include <thread>

#include "testing/library/tensor.h"
#include "tensorcache/tensor_cache.h"
#include "testing/core/eventually.h"

namespace tensorcache {
namespace {

using testing::eventually;
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
  tensor::Leases leases;
  const Key key = Key::of("k");
  const std::uint64_t first = leases.take(key, 0ms, 1h);
  const auto wait = [&] { return leases.take(key, 1h, 20ms); };
  auto one = std::async(std::launch::async, wait), other = std::async(std::launch::async, wait);
  EXPECT_TRUE(eventually([&] { return leases.waiting(key) == 2; }));
  leases.release(key, first);
  EXPECT_EQ(one.wait_for(60s), std::future_status::ready);
  EXPECT_EQ(other.wait_for(60s), std::future_status::ready) << "it sleeps until the first lease would have run out";
  EXPECT_NE(one.get(), other.get());
}

// Whoever has the lease sees what was written under the one before.
TEST(Leases, OneDoesNotRunOutInTheMiddleOfItsWrite) {
  tensor::Leases leases;
  const Key key = Key::of("k");
  for (auto hold = 20ms;; hold *= 2) {
    const std::uint64_t token = leases.take(key, 0ms, hold);
    std::optional<tensor::Leases::Write> write(std::in_place, leases, key, token);
    if (!*write) continue;   // this thread was held up for so long
    const auto over = tensor::Leases::Clock::now() + hold;
    EXPECT_TRUE(eventually([&] { return tensor::Leases::Clock::now() >= over; }));
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
