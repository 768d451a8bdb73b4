#include "store/disk/scrubber.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "testing/store/log_parts.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

constexpr std::uint64_t kOwner = 5;

class ScrubberTest : public ::testing::Test {
 protected:
  bool put_owned(std::uint64_t number, std::size_t size = 9000) {
    return parts_.put(number, size, [](RecordHeader& header) { header.owner = kOwner; });
  }
  bool delete_owner(std::uint64_t number = 1) {
    std::list<Removal> removals(1);
    removals.front().type = RecordType::kClearOwner;
    removals.front().what.owner = kOwner;
    removals.front().number = number;
    return parts_.scrubber.add_wipes(removals.begin(), removals.end());
  }
  // RETURNS whether it came to its end.
  bool sweep() {
    for (int piece = 0; piece < 1000 && !parts_.scrubber.wipes().empty(); ++piece) parts_.scrubber.sweep_some();
    return parts_.scrubber.wipes().empty();
  }
  // RETURNS whether the bytes of the value are in any file.
  [[nodiscard]] bool is_in_a_file(std::uint64_t number, std::size_t size = 9000) const {
    const std::string value = value_of(number, size);
    const auto part = std::as_bytes(std::span(value)).first(64);
    const auto contents = parts_.files->contents();
    return std::ranges::any_of(contents, [&](const auto& file) { return !std::ranges::search(file.second, part).empty(); });
  }
  [[nodiscard]] bool is_noted() const { return parts_.files->exists("cache/" + std::string(kWipesFile)); }

  LogParts parts_{std::make_shared<FaultFiles>()};
};

TEST_F(ScrubberTest, OverwritesWhatMatchesInSealedSegmentsAndTheOpenOneAndNothingElse) {
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(i % 2 == 0 ? put_owned(i) : parts_.put(i, 9000));
  ASSERT_TRUE(delete_owner());
  EXPECT_TRUE(is_noted());
  ASSERT_TRUE(sweep());
  EXPECT_FALSE(is_noted());
  for (std::uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(is_in_a_file(i), i % 2 == 1) << i;
    EXPECT_EQ(parts_.has(i), i % 2 == 1) << i;
  }
}

TEST_F(ScrubberTest, OverwritesEarlierVersionsToo) {
  ASSERT_TRUE(put_owned(1, 5000));
  ASSERT_TRUE(put_owned(1, 7000));
  ASSERT_TRUE(delete_owner());
  ASSERT_TRUE(sweep());
  EXPECT_FALSE(is_in_a_file(1, 5000));
  EXPECT_FALSE(is_in_a_file(1, 7000));
}

TEST_F(ScrubberTest, LeavesWhatIsStoredAfterTheDeletion) {
  ASSERT_TRUE(put_owned(1));
  ASSERT_TRUE(delete_owner());
  ASSERT_TRUE(put_owned(2));
  ASSERT_TRUE(sweep());
  EXPECT_FALSE(is_in_a_file(1));
  EXPECT_TRUE(is_in_a_file(2));
  EXPECT_TRUE(parts_.has(2));
}

TEST_F(ScrubberTest, TheSameDeletionAgainIsNotedOnceAndCountsToItsNewPlace) {
  ASSERT_TRUE(put_owned(1));
  ASSERT_TRUE(delete_owner());
  const LogPosition first = parts_.scrubber.wipes().front().before;
  ASSERT_TRUE(put_owned(2));
  ASSERT_TRUE(delete_owner());
  ASSERT_EQ(parts_.scrubber.wipes().size(), 1u);
  EXPECT_GT(parts_.scrubber.wipes().front().before, first);
  ASSERT_TRUE(sweep());
  EXPECT_FALSE(is_in_a_file(2));
}

TEST_F(ScrubberTest, AQuestionIsAnsweredWhenWhatWasRemovedBeforeItIsOverwritten) {
  ASSERT_TRUE(put_owned(1));
  ASSERT_TRUE(delete_owner(7));
  std::vector<std::string> answers;
  const auto ask = [&](std::uint64_t number, const char* name) {
    std::list<Write> question(1);
    question.front().number = number;
    question.front().written = [&answers, name](bool yes) { answers.push_back(name + std::string(yes ? " yes" : " no")); };
    parts_.scrubber.park(question, question.begin());
  };
  ask(7, "before");
  ask(8, "after");
  parts_.scrubber.answer_parked(false);
  EXPECT_EQ(answers, std::vector<std::string>{"before yes"});
  ASSERT_TRUE(sweep());
  EXPECT_EQ(answers, (std::vector<std::string>{"before yes", "after yes"}));
}

TEST_F(ScrubberTest, AQuestionIsAnsweredWithNoWhereOverwritingFails) {
  ASSERT_TRUE(put_owned(1));
  ASSERT_TRUE(delete_owner(7));
  std::vector<bool> answers;
  std::list<Write> question(1);
  question.front().number = 8;
  question.front().written = [&](bool yes) { answers.push_back(yes); };
  parts_.scrubber.park(question, question.begin());
  parts_.files->fail_call(FaultFiles::kWrite, 1, EIO, true);
  for (int piece = 0; piece < 10 && answers.empty(); ++piece) parts_.scrubber.sweep_some();
  EXPECT_EQ(answers, std::vector<bool>{false});
  EXPECT_FALSE(parts_.scrubber.wipes().empty());
  EXPECT_TRUE(is_noted()) << "the next start finishes it";
}

TEST_F(ScrubberTest, ASegmentThatCannotBeOverwrittenIsDropped) {
  ASSERT_TRUE(put_owned(1));
  ASSERT_TRUE(parts_.put(2, 9000));
  parts_.log.seal_segment();
  ASSERT_TRUE(parts_.put(3, 9000));
  ASSERT_TRUE(delete_owner());
  const std::uint32_t segment = parts_.place_of(2)->segment;
  parts_.files->fail_call(FaultFiles::kWrite, 1, EIO, true);
  for (int piece = 0; piece < 100 && parts_.state.segment_exists(segment); ++piece) parts_.scrubber.sweep_some();
  EXPECT_FALSE(parts_.state.segment_exists(segment));
  EXPECT_FALSE(is_in_a_file(1));
  EXPECT_FALSE(parts_.has(2)) << "it was in the same segment";
  EXPECT_TRUE(parts_.has(3));
}

TEST_F(ScrubberTest, WhatCannotBeNotedIsRefused) {
  ASSERT_TRUE(put_owned(1));
  parts_.files->fail_call(FaultFiles::kAny, 1, EIO, true);
  EXPECT_FALSE(delete_owner());
  EXPECT_TRUE(parts_.scrubber.wipes().empty());
  EXPECT_TRUE(parts_.state.broken());
}

}   // namespace
}   // namespace tensorcache::disk
