#include "store/policy/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "store/policy/flat_map.h"
#include "store/policy/reuse_model.h"
#include "store/policy/trait_factors.h"

namespace tensorcache::policy {
namespace {

// Nodes named a, b, c, ... and the order in which a policy gives them up.
class Order : public ::testing::Test {
 protected:
  void use(std::string_view name, std::uint64_t capacity = 26) {
    policy_ = make_policy(name);
    policy_->resize(capacity);
  }
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

  void SetUp() override {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      nodes_[i].hash = 1000 + i;
      nodes_[i].charge_bytes = 1;
    }
  }

  std::unique_ptr<Policy> policy_;
  std::vector<PolicyNode> nodes_ = std::vector<PolicyNode>(26);
};

// As an owner who lets the policy find out: `b` was used at tick 9, and nobody told.
TEST_F(Order, WhatReadsTicksSparesWhatWasUsedUntold) {
  for (const PolicyInfo& info : policies()) {
    use(info.name);
    if (!policy_->reads_ticks() || info.name == "fifo") continue;
    for (std::uint32_t i = 0; i < 5; ++i) {
      nodes_[i].set_last_use(i);
      policy_->insert(nodes_[i]);
    }
    node('b').set_last_use(9);
    EXPECT_EQ(pop(5), "acdeb") << info.name;
  }
}

TEST(Policies, AreFoundByName) {
  for (const PolicyInfo& info : policies()) {
    EXPECT_NE(make_policy(info.name), nullptr) << info.name;
    EXPECT_FALSE(info.summary.empty()) << info.name;
  }
  EXPECT_TRUE(std::is_sorted(policies().begin(), policies().end(), [](const auto& a, const auto& b) { return a.name < b.name; }));
  EXPECT_EQ(make_policy("LRU"), nullptr);
  EXPECT_EQ(make_policy(""), nullptr);
}

// What every policy must do, whatever its order.
TEST_F(Order, EveryPolicyGivesUpWhatItHoldsOnce) {
  for (const PolicyInfo& info : policies()) {
    SCOPED_TRACE(info.name);
    use(info.name);
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
  for (const PolicyInfo& info : policies()) {
    SCOPED_TRACE(info.name);
    use(info.name);
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

TEST_F(Order, ClockGivesWhatWasUsedOneMoreRound) {
  use("clock");
  insert("abcd");
  touch("a");
  touch("c");
  EXPECT_EQ(pop(5), "bdac-");
}

// Otherwise one put() would wait for a scan of all that is stored.
TEST_F(Order, OnePopPassesOverABoundedNumberOfUsedNodes) {
  for (const PolicyInfo& info : policies()) {
    SCOPED_TRACE(info.name);
    nodes_ = std::vector<PolicyNode>(20'000);
    use(info.name, nodes_.size());
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      nodes_[i].hash = 1000 + i;
      nodes_[i].charge_bytes = 1;
      policy_->insert(nodes_[i]);
    }
    for (std::uint32_t round = 1; round <= 4; ++round) {
      for (PolicyNode& node : nodes_) {
        node.set_last_use(round);
        policy_->touch(node);
      }
    }
    const auto before = nodes_;
    ASSERT_NE(policy_->pop(), nullptr);
    std::size_t passed = 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      passed += nodes_[i].stamp != before[i].stamp || nodes_[i].count != before[i].count || nodes_[i].tag != before[i].tag ? 1 : 0;
    }
    EXPECT_LE(passed, kMaxChances + 2);
  }
}

TEST_F(Order, SievesHandGoesOnFromWhereItStopped) {
  use("sieve");
  insert("abcde");
  touch("a");
  touch("c");
  EXPECT_EQ(pop(2), "bd") << "a and c are spared once";
  insert("f");
  EXPECT_EQ(pop(2), "ef") << "the newest is not safe from the hand";
  EXPECT_EQ(pop(3), "ac-");
}

TEST_F(Order, LfuGivesUpTheLeastUsedAndOfEqualsTheOneThatHasBeenSoForLongest) {
  use("lfu");
  insert("abcd");
  touch("aabd");
  EXPECT_EQ(pop(5), "cbda-");
}

TEST_F(Order, GdsfKeepsWhatSavesMostForItsBytes) {
  use("gdsf");
  node('a').charge_bytes = 100;   // large and cheap
  node('b').charge_bytes = 100;
  node('b').cost_seconds = 1000;   // large and dear
  node('c').charge_bytes = 1;
  insert("abc");
  EXPECT_EQ(pop(3), "acb");
}

TEST_F(Order, GdsfLetsOldFavouritesAge) {
  use("gdsf");
  insert("a");
  touch("aaaaa");   // worth 6
  std::string gone;
  for (char name = 'b'; name < 'k'; ++name) {
    policy_->insert(node(name));
    policy_->touch(node(name));
    gone += pop(1);
  }
  EXPECT_THAT(gone, ::testing::StartsWith("bc")) << "worth 2, then 4";
  EXPECT_THAT(gone, ::testing::HasSubstr("a")) << "the favourite of long ago";
}

TEST_F(Order, S3FifoGivesUpWhatIsUsedOnceAndKeepsWhatComesBack) {
  use("s3fifo", 10);   // room for one in the small queue
  insert("ab");        // b goes to the main queue at once: there is room
  touch("aa");
  EXPECT_EQ(pop(1), "b") << "a is used twice and passes on to the main queue, where b has not been used";
  insert("cd");
  touch("cc");
  EXPECT_EQ(pop(1), "d");
  insert("d");   // came back: into the main queue
  insert("e");
  EXPECT_EQ(pop(5), "eacd-") << "the small queue first, then the main one in its order";
}

TEST_F(Order, ArcKeepsWhatWasUsedTwiceFromAScan) {
  use("arc", 4);
  insert("ab");
  touch("ab");
  for (char name = 'c'; name < 'z'; ++name) {   // a scan
    policy_->on_reserve(node(name));
    if (name >= 'e') {
      const std::string gone = pop(1);
      EXPECT_TRUE(gone != "a" && gone != "b") << name;
    }
    policy_->insert(node(name));
  }
}

TEST_F(Order, WTinyLfuLetsAScanPass) {
  use("wtinylfu", 4);
  for (const char name : {'a', 'b', 'c'}) {
    policy_->on_reserve(node(name));
    policy_->insert(node(name));
    touch(std::string(5, name));
  }
  for (char name = 'd'; name < 'z'; ++name) {
    policy_->on_reserve(node(name));
    if (name > 'd') {
      const std::string gone = pop(1);
      EXPECT_TRUE(gone > "c") << gone << " went for " << name;
    }
    policy_->insert(node(name));
  }
}

// Any calls in any order: never a node twice, none lost.
TEST_F(Order, EveryPolicyKeepsAccount) {
  for (const PolicyInfo& info : policies()) {
    SCOPED_TRACE(info.name);
    use(info.name, 8);
    SetUp();
    std::set<char> held, aside;
    std::mt19937 random(3);
    for (int i = 0; i < 20'000; ++i) {
      const auto name = static_cast<char>('a' + random() % 26);
      const bool in = held.contains(name);
      switch (random() % 8) {
        case 0:
        case 1:
        case 2:
          if (in) {
            policy_->touch(node(name));
          } else if (!aside.contains(name)) {
            policy_->on_reserve(node(name));
            policy_->insert(node(name));
            held.insert(name);
          }
          break;
        case 3:
          if (in && random() % 4 == 0) {
            policy_->erase(node(name));
            held.erase(name);
          }
          break;
        case 4:
          if (!aside.empty()) {
            const char back = *aside.begin();
            policy_->restore(node(back));
            held.insert(back);
            aside.erase(back);
          }
          break;
        case 5:
          policy_->resize(4 + random() % 16);
          break;
        default: {
          if (held.size() < 8) break;
          const std::string gone = pop(1);
          ASSERT_TRUE(held.contains(gone[0])) << gone;
          held.erase(gone[0]);
          if (random() % 3 == 0) aside.insert(gone[0]);
        }
      }
    }
    std::string rest = pop(held.size());
    std::sort(rest.begin(), rest.end());
    EXPECT_EQ(rest, std::string(held.begin(), held.end()));
    EXPECT_EQ(pop(1), "-");
  }
}

// Uses without a request around them, as get() makes them, leave nothing behind.
TEST(Adaptive, ValuesByThemselvesArePlainUses) {
  const auto policy = make_policy("adaptive");
  policy->resize(100);
  std::vector<PolicyNode> nodes(10);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    nodes[i].hash = i + 1;
    nodes[i].charge_bytes = 1;
    policy->insert(nodes[i]);
  }
  policy->begin({.values = 3, .hits = 2});
  policy->touch(nodes[1]);
  policy->touch(nodes[0]);
  for (int i = 0; i < 100'000; ++i) policy->touch(nodes[static_cast<std::size_t>(2 + i % 8)]);
  EXPECT_EQ(policy->pop(), &nodes[1]) << "it follows LRU until another order has proved better";
  EXPECT_EQ(policy->pop(), &nodes[0]);
}

// What the history knows of a chain's beginning is needed as long as its end is known, however
// small the capacity is.
TEST(Adaptive, ASmallEndOfAChainKeepsItsLargeBeginning) {
  const std::unique_ptr<Policy> policy = make_policy("adaptive");
  policy->resize(1'000'000);
  std::vector<PolicyNode> nodes(5);
  policy->begin({.values = nodes.size()});
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    nodes[i].hash = 1000 + i;
    nodes[i].charge_bytes = i + 1 < nodes.size() ? 100'000 : 10;
    if (i > 0) nodes[i].parent = &nodes[i - 1];
    policy->insert(nodes[i]);
  }
  policy->begin({.values = 1, .hits = 1});
  policy->touch(nodes.back());
  policy->begin({.values = 1});
  policy->resize(1000);
  for (std::size_t i = 0; i < nodes.size(); ++i) EXPECT_NE(policy->pop(), nullptr);
}

TEST(FlatMap, HoldsWhatAnOracleHolds) {
  FlatMap<int> map;
  std::unordered_map<std::uint64_t, int*> oracle;
  std::vector<int> values(500);
  std::mt19937 random(5);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t key = random() % 500 << 40;   // many have the same home
    if (const auto found = oracle.find(key); found != oracle.end()) {
      ASSERT_EQ(map.find(key), found->second);
      if (random() % 2 == 0) {
        map.erase(key);
        oracle.erase(found);
      }
    } else {
      ASSERT_EQ(map.find(key), nullptr);
      map.erase(key);
      int* const value = &values[key >> 40];
      ASSERT_TRUE(map.insert(key, value));
      oracle.emplace(key, value);
    }
    ASSERT_EQ(map.size(), oracle.size());
  }
}

TEST(TraitFactors, JudgeAClassThatIsNewByItsTraits) {
  std::vector<TraitFactors::Class> classes;
  for (std::size_t a = 0; a < 2; ++a) {
    for (std::size_t b = 0; b < 2; ++b) {
      TraitFactors::Class& one = classes.emplace_back(TraitFactors::Class{{a, b, 0, 0, 0}, {}, {}, {}});
      const double seen = a == 1 && b == 1 ? 0 : 10'000;
      one.expected.fill(seen);
      one.events.fill(seen * (a == 1 ? 4 : 1) * (b == 1 ? 0.5 : 1));
    }
  }
  TraitFactors::fit(classes, 1);
  EXPECT_NEAR(classes[3].product[4] / classes[0].product[4], 2, 0.05);
  EXPECT_NEAR(classes[1].product[4], 0.5, 0.01);
}

TEST(ReuseModel, WhatComesBackSoonerAndOftenerIsWorthMore) {
  ReuseModel model;
  const auto often = ReuseModel::class_of({.uses = 2, .known = 1}), seldom = ReuseModel::class_of({.uses = 0});
  for (int i = 0; i < 1'000; ++i) {
    model.reused(often, model.age_of(20));
    model.forgotten(seldom, model.age_of(5'000));
  }
  model.reused(seldom, model.age_of(20));
  model.learn(ReuseModel::Counts(ReuseModel::kClasses), 1);
  EXPECT_GT(model.worth(often, 0), 10 * model.worth(seldom, 0));
  EXPECT_GT(model.place_of(often, 0), model.place_of(seldom, 0));
  EXPECT_EQ(model.worth(ReuseModel::kOver, 0), 0) << "trusted until it has proved wrong";
}

}   // namespace
}   // namespace tensorcache::policy
