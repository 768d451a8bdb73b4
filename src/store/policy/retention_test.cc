#include "store/policy/retention.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace tensorcache::policy {
namespace {

using std::chrono::milliseconds;

class RetentionTest : public ::testing::Test {
 protected:
  RetentionTest() {
    retention_.resize(100);
    retention_.allow(100 * Retention::kKeptBytes);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      nodes_[i].hash = i + 1;
      nodes_[i].charge_bytes = 1;
      retention_.insert(nodes_[i]);
    }
  }
  PolicyNode& node(char name) { return nodes_[static_cast<std::size_t>(name - 'a')]; }
  void advise(char name, const Hints& hints) { retention_.advise(node(name), hints); }
  // The order in which all go.
  std::string all() {
    std::string names;
    while (const PolicyNode* next = retention_.pop()) names += static_cast<char>('a' + (next - nodes_.data()));
    return names;
  }

  Retention::Time now_{};
  Retention retention_{make_policy("lru"), [this] { return now_; }};
  std::array<PolicyNode, 6> nodes_;
};

// Else one put would wait for all that ends at once.
TEST_F(RetentionTest, OnePopLetsGoOfABoundedNumberWhoseTimeIsOver) {
  constexpr std::size_t kMany = 2 * kMaxChances;
  std::vector<PolicyNode> many(kMany);
  retention_.resize(4 * kMany);
  retention_.allow(kMany * Retention::kKeptBytes);
  for (std::size_t i = 0; i < kMany; ++i) {
    many[i].hash = 100 + i;
    many[i].charge_bytes = 1;
    retention_.insert(many[i]);
    retention_.advise(many[i], {.keep_for = std::chrono::seconds(1)});
  }
  now_ += std::chrono::seconds(2);
  EXPECT_EQ(retention_.pop(), &node('a'));
  // The memory of each that was let go is allowed anew.
  EXPECT_EQ(retention_.take_back() / Retention::kKeptBytes, 100 + kMaxChances);
  std::size_t popped = 1;
  while (retention_.pop() != nullptr) ++popped;
  EXPECT_EQ(popped, kMany + nodes_.size());
}

TEST_F(RetentionTest, WithoutHintsItIsTheOrderItself) {
  retention_.touch(node('a'));
  EXPECT_EQ(all(), "bcdefa");
}

TEST_F(RetentionTest, ALowPriorityGoesFirstAndAHighOneLast) {
  advise('e', {.priority = 10});
  advise('a', {.priority = 90});
  advise('b', {.priority = 60});
  advise('f', {.priority = 20});
  EXPECT_EQ(all(), "efcdba");
}

TEST_F(RetentionTest, OfOnePriorityTheLeastRecentlyUsedGoesFirst) {
  for (const char name : {'a', 'b', 'c'}) advise(name, {.priority = 80});
  retention_.touch(node('a'));
  EXPECT_EQ(all(), "defbca");
}

TEST_F(RetentionTest, TheLastHintCounts) {
  advise('a', {.priority = 80});
  advise('a', {.priority = 5});
  advise('f', {.priority = 80});
  advise('f', {});
  EXPECT_EQ(all(), "abcdef");
}

TEST_F(RetentionTest, WhatIsToBeKeptGoesLastUntilTheTimeIsOver) {
  advise('a', {.keep_for = milliseconds(100)});
  EXPECT_EQ(retention_.pop(), &node('b'));
  now_ += milliseconds(99);
  EXPECT_EQ(retention_.pop(), &node('c'));
  now_ += milliseconds(1);
  EXPECT_EQ(all(), "defa") << "from then on it is like one that came just now";
}

TEST_F(RetentionTest, WhatIsToBeKeptGoesWhenNothingElseIsLeft) {
  advise('a', {.priority = 100});
  advise('b', {.keep_for = milliseconds(200)});
  advise('c', {.keep_for = milliseconds(100)});
  EXPECT_EQ(all(), "defacb");
}

TEST_F(RetentionTest, WhatDoesNotComeBackAsExpectedGoesNext) {
  advise('a', {.expected_reuse = milliseconds(100)});
  advise('e', {.expected_reuse = milliseconds(100)});
  EXPECT_EQ(retention_.pop(), &node('b'));
  now_ += milliseconds(100);
  retention_.touch(node('e'));
  EXPECT_EQ(retention_.pop(), &node('c')) << "half as long again";
  now_ += milliseconds(50);
  EXPECT_EQ(all(), "adfe");
}

TEST_F(RetentionTest, KeepsHalfOfTheCapacityAtMost) {
  retention_.resize(6);
  for (const char name : {'a', 'b'}) advise(name, {.keep_for = milliseconds(100)});
  advise('c', {.priority = 90});
  advise('d', {.priority = 90});   // one too many: as if it had just come
  EXPECT_EQ(all(), "efdcba");
}

TEST_F(RetentionTest, LetsGoOfWhatStandsApart) {
  advise('a', {.priority = 90});
  advise('b', {.keep_for = milliseconds(100)});
  advise('c', {.priority = 1});
  for (const char name : {'a', 'b', 'c'}) retention_.erase(node(name));
  EXPECT_EQ(all(), "def");
}

TEST_F(RetentionTest, TakesBackWhatCouldNotGo) {
  advise('e', {.priority = 10});
  advise('f', {.priority = 10});
  PolicyNode* first = retention_.pop();
  EXPECT_EQ(first, &node('e'));
  retention_.restore(*first);
  EXPECT_EQ(all(), "efabcd");
}

TEST_F(RetentionTest, WhatIsOverGoesNextWhateverWasSaidBefore) {
  advise('c', {.priority = 90});
  advise('d', {.keep_for = milliseconds(100)});
  retention_.demote(node('c'));
  retention_.demote(node('d'));
  EXPECT_EQ(all(), "dcabef");
}

TEST_F(RetentionTest, TheLongestTimesAreForEver) {
  advise('a', {.keep_for = milliseconds::max()});
  advise('b', {.expected_reuse = milliseconds::max()});
  now_ += std::chrono::hours(24 * 365 * 19);
  EXPECT_EQ(all(), "cdefab");
}

TEST_F(RetentionTest, KeepsAsManyAsItWasAllowed) {
  ASSERT_EQ(retention_.take_back(), 100 * Retention::kKeptBytes);
  retention_.allow(2 * Retention::kKeptBytes);
  for (const char name : {'a', 'b', 'c'}) advise(name, {.keep_for = milliseconds(10)});
  EXPECT_EQ(retention_.take_back(), 0u) << "two are kept";
  advise('b', {});
  EXPECT_EQ(retention_.take_back(), Retention::kKeptBytes) << "it said nothing of keeping the last time";
  EXPECT_EQ(all(), "cdefba");
  EXPECT_EQ(retention_.take_back(), Retention::kKeptBytes);
}

}   // namespace
}   // namespace tensorcache::policy
