#include "store/policy/expected_value_order.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>

namespace tensorcache::policy {
namespace {

class ExpectedValueOrderTest : public ::testing::Test {
 protected:
  PolicyNode& node(std::uint8_t of_class, std::uint32_t request) {
    PolicyNode& made = nodes_.emplace_back();
    value_class(made) = of_class;
    used_by(made) = request;
    return made;
  }
  PolicyNode* take_least() {
    PolicyNode* const least = order_.least_worth();
    if (least != nullptr) order_.take(*least);
    return least;
  }

  // Values of `often` come back soon, those of `seldom` hardly ever.
  void teach() {
    for (int i = 0; i < 2000; ++i) model_.reused(often_, model_.age_of(2));
    for (int i = 0; i < 2000; ++i) model_.forgotten(seldom_, model_.age_of(1000));
    model_.reused(seldom_, model_.age_of(900));
    model_.learn(ReuseModel::Counts(ReuseModel::kClasses), 1);
    order_.on_ranking_changed();
  }

  const std::uint8_t often_ = ReuseModel::class_of({.uses = 2, .known = 1}), seldom_ = ReuseModel::class_of({.uses = 0});
  ReuseModel model_;
  ExpectedValueOrder order_{model_};
  std::deque<PolicyNode> nodes_;
};

TEST_F(ExpectedValueOrderTest, OfOneRequestTheFirstPutLastGoesFirst) {
  PolicyNode &a = node(seldom_, 1), &b = node(seldom_, 1), &c = node(seldom_, 1);
  order_.advance_to(1);
  order_.put_last(a);
  order_.put_last(b);
  order_.put_first(c);
  EXPECT_EQ(order_.least_worth(), &c);
  EXPECT_EQ(order_.least_worth(), &c) << "it stays";
  EXPECT_EQ(take_least(), &c);
  EXPECT_EQ(take_least(), &a);
  EXPECT_EQ(take_least(), &b);
  EXPECT_EQ(take_least(), nullptr);
}

TEST_F(ExpectedValueOrderTest, TheClassThatSeldomComesBackGoesFirst) {
  teach();
  ASSERT_LT(model_.worth(seldom_, 0), model_.worth(often_, 0));
  PolicyNode &kept = node(often_, 1), &gone = node(seldom_, 2);
  order_.advance_to(1);
  order_.put_last(kept);
  order_.advance_to(2);
  order_.put_last(gone);
  EXPECT_EQ(take_least(), &gone) << "although it was used later";
  EXPECT_EQ(take_least(), &kept);
}

TEST_F(ExpectedValueOrderTest, WhatTheModelLearnsLaterMovesThoseThatAreHeld) {
  PolicyNode &kept = node(often_, 1), &gone = node(seldom_, 1);
  order_.advance_to(1);
  order_.put_last(kept);
  order_.put_last(gone);
  teach();
  EXPECT_EQ(take_least(), &gone);
}

TEST_F(ExpectedValueOrderTest, WhatIsOverGoesBeforeAndOfThePresentRequestLast) {
  teach();
  PolicyNode &present = node(ReuseModel::kPresent, 1), &over = node(ReuseModel::kOver, 1), &kept = node(often_, 1);
  order_.advance_to(1);
  order_.put_last(present);
  order_.put_last(kept);
  order_.put_last(over);
  EXPECT_EQ(order_.present(), &present);
  EXPECT_EQ(take_least(), &over);
  EXPECT_EQ(take_least(), &kept);
  EXPECT_EQ(take_least(), &present);
  EXPECT_EQ(order_.present(), nullptr);
}

TEST_F(ExpectedValueOrderTest, TheOldestIsByTheLastUse) {
  PolicyNode &old = node(often_, 1), &young = node(seldom_, 300);
  order_.advance_to(1);
  order_.put_last(old);
  order_.advance_to(300);
  order_.put_last(young);
  order_.advance_to(1000);
  EXPECT_EQ(order_.oldest(), &old);
  order_.take(old);
  EXPECT_EQ(order_.oldest(), &young);
}

// Each value comes out once, however many batches, classes and requests there are.
TEST_F(ExpectedValueOrderTest, EachComesOutOnce) {
  std::set<PolicyNode*> held;
  for (std::uint32_t request = 1; request <= 500; ++request) {
    order_.advance_to(request);
    for (std::uint8_t i = 0; i < 4; ++i) {
      PolicyNode& made = node(static_cast<std::uint8_t>((request * 7 + i) % 250), request);
      order_.put_last(made);
      held.insert(&made);
    }
    if (request % 3 == 0) {
      ASSERT_EQ(held.erase(take_least()), 1u);
    }
    if (request == 250) teach();
  }
  while (!held.empty()) ASSERT_EQ(held.erase(take_least()), 1u);
  EXPECT_EQ(take_least(), nullptr);
}

}   // namespace
}   // namespace tensorcache::policy
