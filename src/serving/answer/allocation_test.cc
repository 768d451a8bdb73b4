// Memory runs out at each allocation of a running answer in turn: of the request's thread and of
// the engine's. No follower waits for ever, an answer that cannot be stored is given all the same,
// and the next identical request is answered.
#include <gtest/gtest.h>

#include <new>

#include "testing/engine/fake_engine.h"
#include "serving/answer/flight.h"
#include "testing/core/failing_allocations.h"

namespace tensorcache::answer {
namespace {

Flights::Order order() {
  auto request = std::make_shared<engine::Request>();
  request->tenant = "t";
  request->prompt = "what";
  return {.request = request, .key = Key::of("what"), .salt = "", .max_age = std::nullopt};
}

struct End {
  std::string text;
  bool finished = false, failed = false;
};

End drain(Follower& follower) {
  End end;
  Follower::Events events;
  while (follower.next(events, 100)) {
    for (const engine::Delta* delta : events.deltas) end.text += delta->text;
    end.finished |= events.finish != nullptr;
    end.failed |= events.failure != nullptr;
  }
  return end;
}

void expect_next_is_answered(Flights& flights) {
  testing::FakeEngine engine(testing::FakeEngine::say({"an ", "answer"}));
  auto next = flights.enter(order(), engine, [] {});
  if (next.hit) return;
  EXPECT_FALSE(next.collapsed) << "into a computation that never ends";
  EXPECT_EQ(drain(next.follower).text, "an answer");
  EXPECT_TRUE(flights.enter(order(), engine, [] {}).hit);
}

TEST(FailingAllocation, OfARequest) {
  int failures = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 1000);
    SCOPED_TRACE(allowed);
    Cache cache({.capacity_bytes = 1 << 20});
    Flights flights(cache);
    testing::FakeEngine engine(testing::FakeEngine::say({"an ", "answer"}));
    const Flights::Order what = order();
    const bool failed = runs_out(allowed, [&] { static_cast<void>(flights.enter(what, engine, [] {})); });
    failures += failed ? 1 : 0;
    expect_next_is_answered(flights);
    if (!failed) break;
  }
  EXPECT_GT(failures, 0);
}

// What the engine does when one of its calls throws: it fails the request.
TEST(FailingAllocation, OfTheEngineThatAnswers) {
  int failures = 0, unstored = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 1000);
    SCOPED_TRACE(allowed);
    Cache cache({.capacity_bytes = 1 << 20});
    Flights flights(cache);
    testing::FakeEngine engine;
    int wakes = 0;
    auto first = flights.enter(order(), engine, [&] { ++wakes; });
    auto second = flights.enter(order(), engine, [&] { ++wakes; });
    Follower::Events events;
    ASSERT_FALSE(first.follower.next(events, 100)) << "waits to be woken";
    ASSERT_FALSE(second.follower.next(events, 100));
    const testing::FakeEngine::Job job = engine.job(0);
    const engine::Failure failure{engine::Failure::Code::kInternal, "there was not enough memory for this one request", ""};
    const bool failed = runs_out(allowed, [&] {
      try {
        job.begin();
        job.say("an answer that is too long for a short string");
        job.finish();
      } catch (const std::bad_alloc&) {
        job.sink->on_failure(failure);
      }
    });
    failures += failed ? 1 : 0;
    for (Follower* follower : {&first.follower, &second.follower}) {
      const End end = drain(*follower);
      EXPECT_TRUE(end.finished || end.failed);
      EXPECT_EQ(end.finished ? end.text : "an answer that is too long for a short string", "an answer that is too long for a short string");
      unstored += end.finished && !cache.contains(order().key);
    }
    expect_next_is_answered(flights);
    if (!failed) break;
  }
  EXPECT_GT(failures, 0);
  EXPECT_GT(unstored, 0);
}

TEST(FailingAllocation, OfAWakeUpIsTriedAgain) {
  Cache cache({.capacity_bytes = 1 << 20});
  Flights flights(cache);
  testing::FakeEngine engine;
  int tries = 0, woken = 0;
  auto first = flights.enter(order(), engine, [&] {
    if (++tries < 4) throw std::bad_alloc();
  });
  auto second = flights.enter(order(), engine, [&] { ++woken; });
  Follower::Events events;
  ASSERT_FALSE(first.follower.next(events, 100));
  ASSERT_FALSE(second.follower.next(events, 100));
  const testing::FakeEngine::Job job = engine.job(0);
  job.begin();
  EXPECT_EQ(woken, 1) << "one that cannot be woken keeps no other waiting";
  job.finish();
  EXPECT_EQ(tries, 4);
}

}   // namespace
}   // namespace tensorcache::answer
