#include "store/memory/epochs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace tensorcache::memory {
namespace {

class EpochsTest : public ::testing::Test {
 protected:
  Epochs::Slots collect(Epochs::Slots left) {
    return epochs_.collect([this](const Use& use) { told_.push_back(use.entry); }, left);
  }

  Epochs epochs_;
  std::array<Entry, 40> entries_;
  std::vector<Entry*> told_;
};

TEST_F(EpochsTest, TellsUsesInTheirOrderOnce) {
  for (int i = 0; i < 3; ++i) {
    Epochs::Section section(epochs_);
    EXPECT_FALSE(section.note({&entries_[static_cast<std::size_t>(i)]}));
  }
  EXPECT_EQ(collect(Epochs::kAllSlots), 0u);
  EXPECT_EQ(told_, (std::vector<Entry*>{&entries_[0], &entries_[1], &entries_[2]}));
  EXPECT_EQ(collect(Epochs::kAllSlots), 0u);
  EXPECT_EQ(told_.size(), 3u);
}

TEST_F(EpochsTest, AFullSlotSaysSoAndDropsFurtherUses) {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Epochs::Section section(epochs_);
    EXPECT_EQ(section.note({&entries_[i]}), i + 1 >= Epochs::kUses) << i;
  }
  EXPECT_EQ(collect(Epochs::own_slot()), 0u);
  ASSERT_EQ(told_.size(), Epochs::kUses);
  EXPECT_EQ(told_.back(), &entries_[Epochs::kUses - 1]);
}

TEST_F(EpochsTest, ASectionIsWaitedForAndItsUsesAreToldAfterIt) {
  std::atomic<int> stage{0};
  std::thread reader([&] {
    Epochs::Section section(epochs_);
    EXPECT_FALSE(section.note({&entries_[0]}));
    stage = 1;
    while (stage != 2) std::this_thread::yield();
  });
  while (stage != 1) std::this_thread::yield();
  const Epochs::Slots left = collect(Epochs::kAllSlots);
  EXPECT_EQ(std::popcount(left), 1) << "the slot of the section";
  EXPECT_TRUE(told_.empty());
  stage = 2;
  reader.join();
  EXPECT_EQ(collect(left), 0u);
  EXPECT_EQ(told_, std::vector<Entry*>{&entries_[0]});
}

TEST_F(EpochsTest, ASectionThatBeganLaterIsNotWaitedFor) {
  Epochs::Slots left = 0;
  {
    const Epochs::Section first(epochs_);
    std::thread([&] { left = collect(Epochs::kAllSlots); }).join();
    EXPECT_NE(left, 0u);
  }
  std::thread([&] {   // another slot
    const Epochs::Section later(epochs_);
    std::thread([&] { left = collect(left); }).join();
  })
      .join();
  EXPECT_EQ(left, 0u);
}

TEST_F(EpochsTest, CountsOfAllThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 1000; ++i) {
        Epochs::Section section(epochs_);
        section.count(2, 1);
        static_cast<void>(section.note({&entries_[0]}));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(epochs_.hits(), 8000u);
  EXPECT_EQ(epochs_.misses(), 4000u);
  EXPECT_EQ(epochs_.sections(), 4000u);
  EXPECT_EQ(collect(Epochs::kAllSlots), 0u);
  EXPECT_EQ(epochs_.sections(), 4000u) << "collecting is no section";
}

// More threads than slots share them.
TEST_F(EpochsTest, MoreThreadsThanSlots) {
  constexpr std::size_t kThreads = Epochs::kSlots + 4;
  std::atomic<std::size_t> done{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      {
        Epochs::Section section(epochs_);
        section.count(1, 0);
        static_cast<void>(section.note({&entries_[0]}));
      }
      ++done;
      while (done != kThreads) std::this_thread::yield();   // so that each has a number of its own
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(collect(Epochs::kAllSlots), 0u);
  EXPECT_EQ(told_.size(), kThreads);
  EXPECT_EQ(epochs_.hits(), kThreads);
}

}   // namespace
}   // namespace tensorcache::memory
