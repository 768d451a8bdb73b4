#include "base/core/single_flight.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace tensorcache {
namespace {

using Value = std::shared_ptr<const std::string>;
using Flights = SingleFlight<std::string, Value>;

Value value_of(const std::string& text) { return std::make_shared<const std::string>(text); }

void wait_for_waiting(const Flights& flights, const std::string& key, std::size_t count) {
  while (flights.waiting(key) != count) std::this_thread::yield();
}

// Joins in a thread of its own; a lead is landed with `own`.
std::thread join_later(Flights& flights, const std::string& key, const std::string& own, std::string& got) {
  return std::thread([&flights, &got, key, own] {
    auto joined = flights.join(key);
    if (auto* lead = std::get_if<1>(&joined)) {
      lead->land(value_of(own));
      got = own;
    } else {
      got = *std::get<0>(joined);
    }
  });
}

TEST(SingleFlight, GivesTheLeadersResultToAllWhoWait) {
  Flights flights;
  auto joined = flights.join("key");
  auto& lead = std::get<1>(joined);
  std::vector<std::string> got(3);
  std::vector<std::thread> threads;
  for (std::string& each : got) threads.push_back(join_later(flights, "key", "another", each));
  wait_for_waiting(flights, "key", got.size());
  EXPECT_FALSE(flights.lead("key"));
  lead.land(value_of("value"));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got, std::vector<std::string>(3, "value"));
  EXPECT_TRUE(flights.lead("key"));   // nothing is remembered
}

TEST(SingleFlight, HandsOverToOneThatWaitsWhenTheLeaderFails) {
  Flights flights;
  std::vector<std::string> got(3);
  std::vector<std::thread> threads;
  {
    auto joined = flights.join("key");
    for (std::string& each : got) threads.push_back(join_later(flights, "key", "second", each));
    wait_for_waiting(flights, "key", got.size());
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got, std::vector<std::string>(3, "second"));
  EXPECT_EQ(flights.waiting("key"), 0u);
}

TEST(SingleFlight, BeginsAnewAfterForget) {
  Flights flights;
  auto first = flights.join("key"), other = flights.join("other");
  auto& lead = std::get<1>(first);
  flights.forget("key");
  EXPECT_TRUE(lead.is_forgotten());
  EXPECT_FALSE(std::get<1>(other).is_forgotten());
  auto again = flights.lead("key");
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->is_forgotten());
  lead.land(value_of("old"));   // does not end the one that began after it
  EXPECT_FALSE(flights.lead("key"));
  flights.forget_all();
  EXPECT_TRUE(again->is_forgotten() && std::get<1>(other).is_forgotten());
}

TEST(SingleFlight, RefusesToWaitForTheThreadItself) {
  Flights flights;
  auto joined = flights.join("key");
  EXPECT_THROW((void)flights.join("key"), std::logic_error);
}

// Over two objects, as two caches of one process have them.
TEST(SingleFlight, LetsTheLastOfACircleComputeToo) {
  Flights first, second;
  auto mine = first.join("a");
  std::atomic<bool> leads{false};
  std::string got_a;
  std::thread other([&] {
    auto joined = second.join("b");
    leads = true;
    got_a = *std::get<0>(first.join("a"));
    std::get<1>(joined).land(value_of("b"));
  });
  while (!leads) std::this_thread::yield();
  wait_for_waiting(first, "a", 1);
  auto circle = second.join("b");   // would wait for the other thread, which waits for this one
  ASSERT_EQ(circle.index(), 1u);
  std::get<1>(circle).land(value_of("own b"));
  std::get<1>(mine).land(value_of("a"));
  other.join();
  EXPECT_EQ(got_a, "a");
}

}   // namespace
}   // namespace tensorcache
