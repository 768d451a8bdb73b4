#include "tools/loadgen/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tools/loadgen/words.h"

namespace tensorcache::loadgen {
namespace {

using ::testing::StartsWith;

std::size_t words_in(const std::string& text) { return text.empty() ? 0 : 1 + std::count(text.begin(), text.end(), ' '); }

std::vector<std::string> texts(const Workload& work) {
  std::vector<std::string> out = work.system;
  for (const Phase& phase : work.phases) {
    for (const Turn& turn : phase.turns) out.push_back(turn.user);
  }
  return out;
}

TEST(Words, AreTheSameEverywhere) {
  // A fixed text: results of different machines and versions are only comparable while this holds.
  EXPECT_EQ(WordSource(1, 1).text(8), WordSource(1, 1).text(8));
  EXPECT_EQ(words_in(WordSource(1, 2, 3).text(100)), 100u);
  EXPECT_EQ(WordSource(1, 2).text(0), "");
  std::set<std::string> different;
  for (std::uint64_t seed : {1, 2}) {
    for (std::uint64_t purpose : {1, 2}) {
      for (std::uint64_t index : {0, 1}) different.insert(WordSource(seed, purpose, index).text(4));
    }
  }
  EXPECT_EQ(different.size(), 8u);
}

TEST(Workloads, AreAFunctionOfTheSeed) {
  Shape shape, other;
  other.seed = 2;
  for (const auto make : {conversations, burst, repeat, unrelated}) {
    EXPECT_EQ(texts(make(shape)), texts(make(shape)));
    EXPECT_NE(texts(make(shape)), texts(make(other)));
  }
}

TEST(Conversations, RotateAndShareTheSystemPrompt) {
  Shape shape;
  shape.conversations = 3;
  shape.turns = 2;
  const Workload work = conversations(shape);
  ASSERT_EQ(work.phases.size(), 2u);
  EXPECT_EQ(work.phases[1].name, "turn 2");
  EXPECT_EQ(work.turns(), 6u);
  EXPECT_EQ(work.system[0], work.system[2]);
  EXPECT_EQ(words_in(work.system[0]), 400u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(work.phases[1].turns[i].session, i);
  EXPECT_GT(work.phases[0].turns[0].user.size(), work.phases[1].turns[0].user.size());
  std::set<std::string> users;
  for (const std::string& text : texts(work)) users.insert(text);
  EXPECT_EQ(users.size(), 7u);   // six different turns and one system prompt
}

TEST(Burst, SharesAPrefixAndDiffersBehindIt) {
  Shape shape;
  const Workload work = burst(shape);
  ASSERT_EQ(work.phases[0].turns.size(), 8u);
  EXPECT_EQ(work.phases[0].concurrency, 8u);
  const std::string& first = work.phases[0].turns[0].user;
  const std::string prefix = first.substr(0, first.find("\n\n"));
  EXPECT_EQ(words_in(prefix), 760u);
  EXPECT_THAT(work.phases[0].turns[7].user, StartsWith(prefix));
  EXPECT_NE(work.phases[0].turns[7].user, first);
}

TEST(Repeat, IsOneRequestAgain) {
  const Workload work = repeat(Shape{});
  ASSERT_EQ(work.phases.size(), 2u);
  EXPECT_EQ(work.phases[0].turns.size(), 1u);
  EXPECT_EQ(work.phases[1].turns.size(), 19u);
  for (const Turn& turn : work.phases[1].turns) EXPECT_EQ(turn.user, work.phases[0].turns[0].user);
}

TEST(Unrelated, PromptsDifferFromTheStart) {
  const Workload work = unrelated(Shape{});
  std::set<std::string> beginnings;
  for (const Phase& phase : work.phases) {
    for (const Turn& turn : phase.turns) beginnings.insert(turn.user.substr(0, 20));
  }
  EXPECT_EQ(beginnings.size(), 40u);
  // Nor do they share the system message that a chat template puts in where there is none.
  EXPECT_EQ(std::set<std::string>(work.system.begin(), work.system.end()).size(), 40u);
  EXPECT_FALSE(work.system[0].empty());
  EXPECT_EQ(work.phases[0].turns[0].max_tokens, 1);
}

}   // namespace
}   // namespace tensorcache::loadgen
