// Where uses are not told: the ticks that the owner notes, and the spans of time that they are
// sorted into.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "store/policy/policy.h"

namespace tensorcache::policy {
namespace {

class Lru : public ::testing::Test {
 protected:
  void insert_every_ten_ticks(std::uint32_t count) {   // nodes a, b, c, ...
    for (std::uint32_t i = 0; i < count; ++i) {
      nodes_[i].set_last_use(10 * i);
      lru_->insert(nodes_[i]);
    }
  }
  PolicyNode& node(char name) { return nodes_[static_cast<std::size_t>(name - 'a')]; }
  std::string pop(std::size_t count) {
    std::string names;
    while (count-- > 0) names += static_cast<char>('a' + (lru_->pop() - nodes_.data()));
    return names;
  }

  const std::unique_ptr<Policy> lru_ = make_policy("lru");
  std::vector<PolicyNode> nodes_ = std::vector<PolicyNode>(26);
};

TEST_F(Lru, PutsWhatWasUsedUntoldWhereItBelongs) {
  insert_every_ten_ticks(6);
  node('a').set_last_use(32);   // between d and e
  node('b').set_last_use(12);   // c came later
  EXPECT_EQ(pop(6), "bcdaef");
}

TEST_F(Lru, DemotesWhatWasUsedUntold) {
  insert_every_ten_ticks(6);
  node('d').set_last_use(45);
  lru_->demote(node('d'));
  EXPECT_EQ(pop(6), "dabcef");
}

// Far more spans of time than it can tell apart: their order stays, and near the end it is fine
// enough.
TEST_F(Lru, KeepsTheOrderOfALongTime) {
  for (const std::uint32_t start : {0u, 0xffff0000u}) {   // ticks wrap around
    const auto lru = make_policy("lru");
    constexpr std::size_t kNodes = 2000;
    std::vector<PolicyNode> nodes(kNodes);
    std::uint32_t tick = start;
    for (PolicyNode& node : nodes) {
      node.set_last_use(tick);
      lru->insert(node);
      tick += 100;
    }
    std::mt19937 random(3);
    for (PolicyNode& node : nodes) {   // all are used once more, untold, in any order
      node.set_last_use(tick + random() % 200'000);
    }
    tick += 200'000;
    PolicyNode last;
    last.set_last_use(tick);
    lru->insert(last);
    std::uint32_t wrong = 0;
    std::uint32_t before = 0;
    for (std::size_t i = 0; i < kNodes; ++i) {
      PolicyNode* node = lru->pop();
      ASSERT_NE(node, nullptr);
      if (node == &last) continue;
      const std::uint32_t used = node->last_use() - start;
      wrong += used + 30'000 < before ? 1 : 0;   // long before what went before it
      before = std::max(before, used);
    }
    EXPECT_LT(wrong, kNodes / 50);
  }
}

}   // namespace
}   // namespace tensorcache::policy
