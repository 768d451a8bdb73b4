#include "policy/policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace tensorcache {
namespace {

// Nodes named a, b, c, ... and the order in which a policy gives them up.
class Order : public ::testing::Test {
 protected:
  void use(std::string_view name) { policy_ = make_policy(name); }
  void insert(std::string_view names) {
    for (const char name : names) policy_->insert(node(name));
  }
  void touch(std::string_view names) {
    for (const char name : names) policy_->touch(node(name));
  }
  PolicyNode& node(char name) { return nodes_[static_cast<std::size_t>(name - 'a')]; }
  std::string pop(std::size_t count) {
    std::string names;
    for (; count > 0; --count) {
      PolicyNode* popped = policy_->pop();
      names += popped == nullptr ? '-' : static_cast<char>('a' + (popped - nodes_.data()));
    }
    return names;
  }

  std::unique_ptr<Policy> policy_;
  std::vector<PolicyNode> nodes_ = std::vector<PolicyNode>(26);
};

TEST(Policies, AreFoundByName) {
  for (const std::string_view name : policy_names()) EXPECT_NE(make_policy(name), nullptr) << name;
  EXPECT_TRUE(std::is_sorted(policy_names().begin(), policy_names().end()));
  EXPECT_EQ(make_policy("LRU"), nullptr);
  EXPECT_EQ(make_policy(""), nullptr);
}

// What every policy must do, whatever its order.
TEST_F(Order, EveryPolicyGivesUpWhatItHoldsOnce) {
  for (const std::string_view name : policy_names()) {
    SCOPED_TRACE(name);
    use(name);
    EXPECT_EQ(pop(1), "-");
    insert("abcdef");
    touch("cab");
    policy_->erase(node('d'));
    std::string all = pop(5);
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, "abcef");
    EXPECT_EQ(pop(1), "-");
    insert("d");
    EXPECT_EQ(pop(2), "d-");
  }
}

TEST_F(Order, EveryPolicyTakesBackWhatCouldNotGo) {
  for (const std::string_view name : policy_names()) {
    SCOPED_TRACE(name);
    use(name);
    insert("abc");
    const std::string first = pop(1);
    policy_->restore(node(first[0]));
    EXPECT_EQ(pop(1), first);
  }
}

TEST_F(Order, LruGivesUpTheLeastRecentlyUsed) {
  use("lru");
  insert("abcd");
  touch("a");
  touch("c");
  EXPECT_EQ(pop(5), "bdac-");
}

TEST_F(Order, LruGivesUpAChainFromItsEnd) {
  use("lru");
  insert("abcd");   // a is the first block
  touch("dcba");
  EXPECT_EQ(pop(4), "dcba");
}

TEST_F(Order, FifoIgnoresUse) {
  use("fifo");
  insert("abcd");
  touch("abba");
  EXPECT_EQ(pop(5), "abcd-");
}

}   // namespace
}   // namespace tensorcache
