#include "serving/llama/fair_queue.h"

#include <gtest/gtest.h>

#include <vector>

namespace tensorcache::llama {
namespace {

struct Silent final : engine::Sink {
  void on_begin(const engine::Begin&) override {}
  void on_delta(engine::Delta) override {}
  void on_finish(const engine::Finish&) override {}
  void on_failure(const engine::Failure&) override {}
};

FairQueue::Pointer of(const std::string& tenant, engine::Engine::Id id) {
  auto request = std::make_shared<engine::Request>();
  request->tenant = tenant;
  return std::make_shared<Sequence>(id, std::move(request), std::make_shared<Silent>());
}

bool any(const Sequence&) { return true; }

std::vector<engine::Engine::Id> order(FairQueue& queue, std::span<const FairQueue::Pointer> slots = {}) {
  std::vector<engine::Engine::Id> ids;
  while (const auto next = queue.take(slots, any)) ids.push_back(next->id);
  return ids;
}

TEST(FairQueue, OneTenantsComeInTheOrderOfTheirArrival) {
  FairQueue queue;
  for (engine::Engine::Id id = 1; id <= 4; ++id) queue.push(of("a", id));
  EXPECT_EQ(order(queue), (std::vector<engine::Engine::Id>{1, 2, 3, 4}));
  EXPECT_TRUE(queue.empty());
}

TEST(FairQueue, TenantsTakeTurns) {
  FairQueue queue;
  for (engine::Engine::Id id = 1; id <= 4; ++id) queue.push(of("a", id));
  queue.push(of("b", 5));
  queue.push(of("b", 6));
  queue.push(of("c", 7));
  EXPECT_EQ(order(queue), (std::vector<engine::Engine::Id>{1, 5, 7, 2, 6, 3, 4}));
}

TEST(FairQueue, WhoHasTheFewestSlotsGoesFirst) {
  FairQueue queue;
  const std::vector<FairQueue::Pointer> slots{of("a", 100), of("b", 101), of("a", 102), nullptr};
  queue.push(of("a", 1));
  queue.push(of("b", 2));
  queue.push(of("c", 3));
  EXPECT_EQ(queue.take(slots, any)->id, 3u);
  EXPECT_EQ(queue.take(slots, any)->id, 2u);
  EXPECT_EQ(queue.take(slots, any)->id, 1u);
}

TEST(FairQueue, WhatMayNotStartYetIsPassedOver) {
  FairQueue queue;
  queue.push(of("a", 1));
  queue.push(of("a", 2));
  EXPECT_EQ(queue.take({}, [](const Sequence& s) { return s.id != 1; })->id, 2u);
  EXPECT_EQ(queue.take({}, [](const Sequence& s) { return s.id != 1; }), nullptr);
  EXPECT_EQ(queue.take({}, any)->id, 1u);
}

TEST(FairQueue, TakesOutWhatIsWanted) {
  FairQueue queue;
  queue.push(of("a", 1));
  queue.push(of("b", 2));
  EXPECT_EQ(queue.take_if([](const Sequence& s) { return s.id == 2; })->id, 2u);
  EXPECT_EQ(queue.take_if([](const Sequence& s) { return s.id == 2; }), nullptr);
  EXPECT_EQ(queue.size(), 1u);
}

}   // namespace
}   // namespace tensorcache::llama
