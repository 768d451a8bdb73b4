#include "serving/llama/context_room.h"

#include <gmock/gmock.h>

#include <utility>

namespace tensorcache::llama {
namespace {

using Given = std::vector<std::pair<std::size_t, std::size_t>>;

struct Room : ::testing::Test {
  Given given;
  ContextRoom room{900, 3, [this](std::size_t slot, std::size_t first) {
                     given.emplace_back(slot, first);
                     return !refuses;
                   }};
  bool refuses = false;
  void touch(std::size_t slot, std::size_t tokens, std::vector<std::size_t> in_use) { room.touch(slot, tokens, in_use); }
};

TEST_F(Room, EachSlotHasAnEqualPartAtFirst) {
  for (std::size_t slot = 0; slot < 3; ++slot) touch(slot, 300, {0, 0, 0});
  EXPECT_TRUE(given.empty());
  EXPECT_EQ(room.touched_tokens(), 900u);
}

TEST_F(Room, KeepsMemoryThatIsNotNeededElsewhere) {
  touch(0, 600, {0, 0, 0});
  EXPECT_EQ(given, (Given{{1, 0}})) << "an idle slot's, and no more than is needed";
  touch(0, 500, {0, 0, 0});
  touch(2, 300, {0, 0, 0});
  EXPECT_EQ(given.size(), 1u);
  EXPECT_EQ(room.touched_tokens(), 900u);
}

TEST_F(Room, TakesItFromIdleSlotsFirst) {
  touch(0, 500, {0, 100, 0});
  EXPECT_EQ(given, (Given{{2, 0}}));
  EXPECT_EQ(room.touched_tokens(), 800u);
}

TEST_F(Room, ThenBeyondWhatOthersUse) {
  touch(2, 500, {100, 200, 0});
  EXPECT_EQ(given, (Given{{0, 100}})) << "no more than needed";
  touch(2, 600, {100, 200, 500});
  EXPECT_EQ(given, (Given{{0, 100}, {1, 200}}));
  EXPECT_EQ(room.touched_tokens(), 900u);
}

TEST_F(Room, WhatIsNotGivenBackStillCounts) {
  refuses = true;
  touch(0, 600, {0, 0, 0});
  EXPECT_EQ(room.touched_tokens(), 1200u);
}

}   // namespace
}   // namespace tensorcache::llama
