#include "store/policy/node_heap.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <utility>

namespace tensorcache::policy {
namespace {

struct Nothing final : MemoryAccount {
  [[nodiscard]] bool try_take(std::uint64_t) noexcept override { return false; }
  void give_back(std::uint64_t) noexcept override {}
};

TEST(NodeHeap, PopsByRankAndOfEqualsTheFirst) {
  PolicyNode a, b, c, d;
  NodeHeap heap;
  EXPECT_EQ(heap.pop(), nullptr);
  EXPECT_EQ(heap.lowest_rank(), 0);
  heap.push(a, 2);
  heap.push(b, 1);
  heap.push(c, 2);
  heap.push(d, 3);
  EXPECT_EQ(heap.lowest_rank(), 1);
  EXPECT_EQ(heap.pop(), &b);
  EXPECT_EQ(heap.pop(), &a);
  EXPECT_EQ(heap.pop(), &c);
  EXPECT_EQ(heap.pop(), &d);
  EXPECT_EQ(heap.pop(), nullptr);
}

TEST(NodeHeap, AChangedRankCountsAsSetLast) {
  PolicyNode a, b, c;
  NodeHeap heap;
  heap.push(a, 1);
  heap.push(b, 2);
  heap.push(c, 3);
  heap.change(a, 2);
  heap.change(c, 0);
  EXPECT_EQ(heap.pop(), &c);
  EXPECT_EQ(heap.pop(), &b);
  EXPECT_EQ(heap.pop(), &a);
}

// Against an ordered map, with all operations at random.
TEST(NodeHeap, AgreesWithAnOrderedMap) {
  std::mt19937_64 random(1);
  std::deque<PolicyNode> nodes(300);
  std::map<PolicyNode*, std::pair<double, int>> ranks;
  NodeHeap heap;
  int order = 0;
  const auto lowest = [&] { return std::ranges::min_element(ranks, {}, [](const auto& held) { return held.second; }); };
  for (int step = 0; step < 20'000; ++step) {
    PolicyNode* const node = &nodes[random() % nodes.size()];
    const auto rank = static_cast<double>(random() % 50);
    const bool is_held = ranks.contains(node);
    if (random() % 4 == 0) {
      if (ranks.empty()) continue;
      const auto expected = lowest();
      ASSERT_EQ(heap.lowest_rank(), expected->second.first);
      ASSERT_EQ(heap.pop(), expected->first) << step;
      ranks.erase(expected);
    } else if (!is_held) {
      heap.push(*node, rank);
      ranks[node] = {rank, order++};
    } else if (random() % 3 == 0) {
      heap.erase(*node);
      ranks.erase(node);
    } else {
      heap.change(*node, rank);
      ranks[node] = {rank, order++};
    }
  }
}

TEST(NodeHeap, WhatThereIsNoMemoryForGoesFirst) {
  Nothing account;
  NodeHeap heap;
  heap.use_memory(account);
  PolicyNode a, b, c;
  heap.push(a, 5);
  heap.push(b, 1);
  heap.push(c, 2);
  heap.change(a, 9);
  heap.erase(b);
  EXPECT_EQ(heap.pop(), &a) << "the first that came";
  EXPECT_EQ(heap.pop(), &c);
  EXPECT_EQ(heap.pop(), nullptr);
}

}   // namespace
}   // namespace tensorcache::policy
