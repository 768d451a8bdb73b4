#include "serving/answer/flight.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "testing/engine/fake_engine.h"
#include "testing/store/disk_cache.h"
#include "testing/store/lookups.h"

namespace tensorcache::answer {
namespace {

using namespace std::chrono_literals;

Flights::Order order(std::string_view what) {
  auto request = std::make_shared<engine::Request>();
  request->tenant = "t";
  request->prompt = what;
  return {.request = request, .key = Key::of(what), .salt = "", .max_age = std::nullopt};
}

struct Seen {
  std::string text;
  bool began = false, finished = false, failed = false, stored = false;
};

Seen drain(Follower& follower, std::size_t max_deltas = 3) {
  Seen seen;
  Follower::Events events;
  while (follower.next(events, max_deltas)) {
    seen.began |= events.begin != nullptr;
    for (const engine::Delta* delta : events.deltas) seen.text += delta->text;
    seen.finished |= events.finish != nullptr;
    seen.failed |= events.failure != nullptr;
    seen.stored |= events.stored;
  }
  return seen;
}

std::string text_of(const Flights::Hit& hit) {
  std::string text;
  for (const engine::Delta& delta : hit.answer.deltas) text += delta.text;
  return text;
}

class FlightTest : public ::testing::Test {
 protected:
  Flights::Outcome enter(const Flights::Order& what) {
    return flights_.enter(what, engine_, [this] { ++wakes_; });
  }

  Cache cache_{CacheOptions{.capacity_bytes = 1 << 20}};
  std::atomic<int> wakes_{0};
  Flights flights_{cache_};
  testing::FakeEngine engine_;   // after flights_: destroyed first, so that late failures meet a living table
};

TEST_F(FlightTest, AFollowerReadsFromTheStartAndTheAnswerIsStored) {
  auto first = enter(order("a"));
  const testing::FakeEngine::Job job = engine_.job(0);
  job.begin();
  for (int i = 0; i < 10; ++i) job.say(std::to_string(i));
  auto second = enter(order("a"));
  EXPECT_FALSE(first.collapsed);
  EXPECT_TRUE(second.collapsed);
  job.finish();
  for (Follower* follower : {&first.follower, &second.follower}) {
    const Seen seen = drain(*follower);
    EXPECT_EQ(seen.text, "0123456789");
    EXPECT_TRUE(seen.began && seen.finished && seen.stored);
  }
  const auto third = enter(order("a"));
  ASSERT_TRUE(third.hit);
  EXPECT_EQ(text_of(*third.hit), "0123456789");
  EXPECT_EQ(engine_.submitted(), 1u);
}

// The context's size is in no key: the default may change with the machine, and most answers have
// nothing to do with it.
TEST_F(FlightTest, AnAnswerIsThereForEveryContextThatHoldsIt) {
  auto wide = order("a");
  wide.context_tokens = 4096;
  auto outcome = enter(wide);
  engine_.job(0).begin(7);
  engine_.job(0).finish(engine::FinishReason::kStop, 7, 2);
  EXPECT_TRUE(drain(outcome.follower).stored);
  wide.context_tokens = 9;
  EXPECT_TRUE(enter(wide).hit);
  wide.context_tokens = 8;
  EXPECT_FALSE(enter(wide).hit) << "there it would have been cut short";
}

TEST_F(FlightTest, AnAnswerThatTheContextEndedIsNotStored) {
  auto cut = enter(order("a"));
  engine_.job(0).begin();
  engine_.job(0).finish(engine::FinishReason::kLength);
  EXPECT_FALSE(drain(cut.follower).stored);
  auto request = std::make_shared<engine::Request>();
  request->max_tokens = 2;
  auto limited = enter({.request = request, .key = Key::of("b"), .salt = "", .max_age = std::nullopt});
  engine_.job(1).begin();
  engine_.job(1).finish(engine::FinishReason::kLength, 7, 2);
  EXPECT_TRUE(drain(limited.follower).stored) << "the request ended it";
}

TEST_F(FlightTest, AnAnswerOverMidnightIsNotStored) {
  auto outcome = enter(order("a"));
  const testing::FakeEngine::Job job = engine_.job(0);
  job.begin();
  engine_.salt = "the next day";   // the template may have printed that, and the key says otherwise
  job.finish();
  EXPECT_FALSE(drain(outcome.follower).stored);
  EXPECT_EQ(cache_.stats().puts, 0u);
}

TEST_F(FlightTest, AWakeUpComesOncePerWait) {
  auto outcome = enter(order("a"));
  const testing::FakeEngine::Job job = engine_.job(0);
  Follower::Events events;
  job.begin();
  EXPECT_EQ(wakes_, 0) << "nobody waits yet";
  EXPECT_TRUE(outcome.follower.next(events, 8));
  EXPECT_FALSE(outcome.follower.next(events, 8));
  job.say("x");
  job.say("y");
  EXPECT_EQ(wakes_, 1);
  EXPECT_TRUE(outcome.follower.next(events, 8));
  EXPECT_EQ(events.deltas.size(), 2u);
  job.finish();
}

TEST_F(FlightTest, OnlyTheLastToLeaveCancels) {
  auto first = enter(order("a")), second = enter(order("a"));
  first.follower.leave();
  EXPECT_EQ(engine_.cancelled(), 0u);
  engine_.job(0).begin();
  second.follower.leave();
  EXPECT_EQ(engine_.cancelled(), 1u);
}

TEST_F(FlightTest, WhoComesWhileItIsBeingCancelledStartsANewOne) {
  auto first = enter(order("a"));
  first.follower.leave();
  auto second = enter(order("a"));
  EXPECT_FALSE(second.collapsed);
  const testing::FakeEngine::Job job = engine_.job(1);
  ASSERT_TRUE(job.request);
  auto third = enter(order("a"));
  EXPECT_TRUE(third.collapsed) << "the end of the cancelled one must not take the new one off the map";
  job.begin();
  job.say("new");
  job.finish();
  EXPECT_EQ(drain(third.follower).text, "new");
}

TEST_F(FlightTest, AFailureReachesAllAndStoresNothing) {
  auto first = enter(order("a")), second = enter(order("a"));
  engine_.job(0).begin();
  engine_.job(0).say("half");
  engine_.job(0).fail(engine::Failure::Code::kInternal);
  EXPECT_TRUE(drain(first.follower).failed);
  EXPECT_TRUE(drain(second.follower).failed);
  EXPECT_EQ(cache_.stats().kinds[static_cast<int>(Kind::kAnswer)].entries, 0u);
  EXPECT_FALSE(enter(order("a")).collapsed);
}

TEST_F(FlightTest, AnAnswerTooOldIsComputedAnewAndReplaced) {
  testing::FakeEngine script(testing::FakeEngine::say({"x"}));
  auto plain = order("a"), fresh = order("a");
  fresh.max_age = -1ms;   // older than that is every one
  (void)flights_.enter(plain, script, [] {});
  const auto outcome = flights_.enter(fresh, script, [] {});
  EXPECT_FALSE(outcome.hit);
  EXPECT_TRUE(outcome.too_old);
  EXPECT_EQ(script.submitted(), 2u);
  EXPECT_TRUE(flights_.enter(plain, script, [] {}).hit);
  EXPECT_EQ(cache_.stats().kinds[static_cast<int>(Kind::kAnswer)].entries, 1u);
}

TEST_F(FlightTest, OnlyWhatIsStored) {
  auto what = order("a");
  what.compute = false;
  const auto outcome = enter(what);
  EXPECT_FALSE(outcome.hit || outcome.follower);
  EXPECT_EQ(engine_.submitted(), 0u);
}

TEST_F(FlightTest, ANewComputationNeitherJoinsNorDisplacesTheRunningOne) {
  auto running = enter(order("a"));
  auto anew = order("a");
  anew.join = anew.look_up = false;
  auto own = enter(anew);
  EXPECT_FALSE(own.collapsed);
  EXPECT_EQ(engine_.submitted(), 2u);
  engine_.job(1).begin();
  engine_.job(1).finish();
  auto later = order("a");
  later.look_up = false;
  EXPECT_TRUE(enter(later).collapsed);
}

TEST_F(FlightTest, NotStoredIsNotShared) {
  auto what = order("a");
  what.store = false;
  auto first = enter(what);
  EXPECT_FALSE(enter(order("a")).collapsed);
  engine_.job(0).begin();
  engine_.job(0).finish();
  EXPECT_FALSE(drain(first.follower).stored);
}

TEST_F(FlightTest, ADamagedAnswerIsAMiss) {
  ASSERT_EQ(cache_.put(Key::of("a"), std::string_view("TCA1 rubbish"), {.kind = Kind::kAnswer}), PutStatus::kStored);
  EXPECT_TRUE(enter(order("a")).follower);
}

TEST_F(FlightTest, AStoredAnswerIsLookedUpOnce) {
  testing::FakeEngine script(testing::FakeEngine::say({"x"}));
  const auto what = order("a");
  (void)flights_.enter(what, script, [] {});
  testing::LookupCounter lookups(cache_);
  EXPECT_TRUE(enter(what).hit);
  EXPECT_EQ(lookups.count(), 1u);
}

// With the table's lock held these would wait for themselves.
TEST_F(FlightTest, TheEngineIsAskedWithoutALock) {
  auto probe = order("b");
  probe.compute = false;
  int asked = 0;
  auto outcome = enter(order("a"));
  engine_.when_asked = [&] {
    ++asked;
    EXPECT_FALSE(enter(probe).hit);
  };
  engine_.job(0).begin();
  engine_.job(0).finish();
  engine_.when_asked = {};
  EXPECT_GE(asked, 2) << "the salt and the source";
  EXPECT_TRUE(drain(outcome.follower).stored);
}

TEST_F(FlightTest, ANewerAnswerReplacesTheStoredOneInOneStep) {
  testing::FakeEngine script(testing::FakeEngine::say({"x"}));
  (void)flights_.enter(order("a"), script, [] {});
  const Handle pinned = cache_.get(order("a").key);
  auto anew = order("a");
  anew.look_up = false;
  auto outcome = enter(anew);
  engine_.job(0).begin();
  engine_.job(0).say("newer");
  engine_.job(0).finish();
  EXPECT_TRUE(drain(outcome.follower).stored);
  EXPECT_EQ(text_of(*enter(order("a")).hit), "newer");
}

// Where there is no room for the newer one, the older stays.
TEST(Flights, AnAnswerThatDoesNotFitLeavesTheStoredOne) {
  Cache cache(CacheOptions{.capacity_bytes = 64 << 10});
  Flights flights(cache);
  testing::FakeEngine small(testing::FakeEngine::say({"x"})), large(testing::FakeEngine::say({std::string(100 << 10, 'y')}));
  (void)flights.enter(order("a"), small, [] {});
  auto anew = order("a");
  anew.look_up = false;
  auto outcome = flights.enter(anew, large, [] {});
  EXPECT_FALSE(drain(outcome.follower).stored);
  const auto again = flights.enter(order("a"), small, [] {});
  ASSERT_TRUE(again.hit);
  EXPECT_EQ(text_of(*again.hit), "x");
}

class FlightsAboveADisk : public testing::DiskCache {};

TEST_F(FlightsAboveADisk, OnlyWhatIsNotInMemoryIsAskedForBelow) {
  start();
  testing::FakeEngine script(testing::FakeEngine::say({"x"}));
  {
    Flights flights(*cache_);
    auto what = order("a");
    EXPECT_TRUE(flights.enter(what, script, [] {}).ask_below);
    EXPECT_EQ(script.submitted(), 0u);
    EXPECT_EQ(cache_->stats().misses, 0u);
    what.asked_below = true;
    EXPECT_TRUE(flights.enter(what, script, [] {}).follower);
    EXPECT_EQ(cache_->stats().misses, 1u);
    testing::LookupCounter lookups(*cache_);
    const auto outcome = flights.enter(order("a"), script, [] {});
    EXPECT_TRUE(outcome.hit && !outcome.ask_below);
    EXPECT_EQ(lookups.count(), 1u);
  }
  restart();
  Flights flights(*cache_);
  EXPECT_TRUE(flights.enter(order("a"), script, [] {}).ask_below);
}

TEST(Flights, MayEndBeforeWhatRuns) {
  Cache cache(CacheOptions{.capacity_bytes = 1 << 20});
  testing::FakeEngine engine;
  auto flights = std::make_unique<Flights>(cache);
  auto outcome = flights->enter(order("a"), engine, [] {});
  flights.reset();
  engine.job(0).begin();
  engine.job(0).finish();
  EXPECT_TRUE(drain(outcome.follower).finished);
}

// Many threads ask, leave and read while engines' threads play: for the thread sanitizer, and for
// lost wake-ups.
TEST(Flights, ManyThreads) {
  Cache cache(CacheOptions{.capacity_bytes = 1 << 20});
  Flights flights(cache);
  std::mutex players_mutex;
  std::vector<std::thread> players;
  testing::FakeEngine engine([&](const testing::FakeEngine::Job& job) {
    const std::lock_guard lock(players_mutex);
    players.emplace_back([job] {
      job.begin();
      for (int i = 0; i < 20; ++i) job.say("w");
      job.finish();
    });
  });
  std::atomic<int> whole{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c)
    clients.emplace_back([&, c] {
      for (int round = 0; round < 50; ++round) {
        std::atomic<int> woken{0};
        auto what = order(std::to_string(round));
        what.look_up = round % 2 == 0;
        auto outcome = flights.enter(what, engine, [&woken] { ++woken, woken.notify_one(); });
        std::string text;
        if (outcome.hit) text = text_of(*outcome.hit);
        Follower::Events events;
        while (outcome.follower && !events.finish) {
          const int before = woken;
          if (!outcome.follower.next(events, 4)) woken.wait(before);
          for (const engine::Delta* delta : events.deltas) text += delta->text;
          if (c == 3 && text.size() > 4) break;   // leaves in the middle
        }
        outcome.follower.leave();
        if (text == std::string(20, 'w')) ++whole;
      }
    });
  for (std::thread& client : clients) client.join();
  for (std::thread& player : players) player.join();
  EXPECT_GE(whole, 150);
}

}   // namespace
}   // namespace tensorcache::answer
