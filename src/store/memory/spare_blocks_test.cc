#include "store/memory/spare_blocks.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>
#include <vector>

#include "store/memory/layout.h"

namespace tensorcache::memory {
namespace {

class SpareBlocksTest : public ::testing::Test {
 protected:
  void* charged_block(std::size_t value_bytes) {
    void* block = Layout(value_bytes).new_block();
    EXPECT_TRUE(budget_.try_charge(Layout::taken_by(block)));
    return block;
  }
  void free(void* block) {
    const std::uint64_t bytes = Layout::taken_by(block);
    std::free(block);
    budget_.give_back(bytes);
  }

  static constexpr std::uint64_t kCapacity = 1 << 20;
  const std::size_t small_ = Layout(100).block_bytes(), large_ = Layout(3000).block_bytes();
  Budget budget_{kCapacity};
  SpareBlocks spares_{budget_};
};

TEST_F(SpareBlocksTest, GivesBackWhatFitsExactly) {
  void* small = charged_block(100);
  void* large = charged_block(3000);
  const std::uint64_t used = budget_.used();
  ASSERT_TRUE(spares_.keep(small, small_));
  ASSERT_TRUE(spares_.keep(large, large_));
  EXPECT_EQ(budget_.used(), used) << "still charged";
  EXPECT_EQ(spares_.take(Layout(500).block_bytes()), nullptr);
  EXPECT_EQ(spares_.take(small_), small);
  EXPECT_EQ(spares_.take(small_), nullptr);
  EXPECT_EQ(spares_.take(large_), large);
  free(small);
  free(large);
}

TEST_F(SpareBlocksTest, KeepsFew) {
  std::uint64_t kept_bytes = 0;
  for (int i = 0; i < 100; ++i) {
    void* block = charged_block(3000);
    const std::uint64_t bytes = Layout::taken_by(block);
    if (spares_.keep(block, large_)) {
      kept_bytes += bytes;
    } else {
      free(block);
    }
  }
  EXPECT_GT(kept_bytes, 0u);
  EXPECT_LE(kept_bytes, kCapacity / 128);
  EXPECT_EQ(budget_.used(), kept_bytes);
}

TEST_F(SpareBlocksTest, KeepsNothingBeyondASmallerBudget) {
  void* block = charged_block(3000);
  budget_.set_capacity(1000);
  EXPECT_FALSE(spares_.keep(block, large_));
  free(block);
}

TEST_F(SpareBlocksTest, ReleasesToTheBudget) {
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(spares_.keep(charged_block(100), small_));
  const std::uint64_t used = budget_.used();
  EXPECT_TRUE(spares_.release_own(1));
  EXPECT_LT(budget_.used(), used);
  EXPECT_GT(budget_.used(), used / 2);
  std::thread([&] { EXPECT_TRUE(spares_.release_all()) << "another thread's too"; }).join();
  EXPECT_EQ(budget_.used(), 0u);
  EXPECT_FALSE(spares_.release_own(1));
  EXPECT_FALSE(spares_.release_all());
}

}   // namespace
}   // namespace tensorcache::memory
