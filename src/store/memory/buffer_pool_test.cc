#include "store/memory/buffer_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstring>
#include <string>
#include <vector>

#include "tensorcache/cache.h"

namespace tensorcache::memory {
namespace {

TEST(BufferPool, RoundsToWholePagesAndWastesLittle) {
  std::size_t before = 0;
  for (std::size_t size = BufferPool::kSmallestBytes; size < (std::size_t{64} << 20); size += size / 61 + 1) {
    const std::size_t rounded = BufferPool::rounded(size);
    EXPECT_GE(rounded, size);
    EXPECT_EQ(rounded % 4096, 0u);
    EXPECT_LE(static_cast<double>(rounded - size), 0.032 * static_cast<double>(size)) << size;
    EXPECT_EQ(BufferPool::rounded(rounded), rounded);
    EXPECT_GE(rounded, before);
    before = rounded;
  }
  EXPECT_EQ(BufferPool::rounded(720 << 10), 720u << 10) << "32 tokens of SmolLM2's K/V fit exactly";
}

TEST(BufferPool, KeepsEachSizeApartAndCharged) {
  Budget budget(1 << 30);
  BufferPool pool(budget);
  for (std::size_t size = BufferPool::kSmallestBytes; size < (1 << 20); size = BufferPool::rounded(size + 1)) {
    ASSERT_TRUE(budget.try_charge(size));
    std::byte* buffer = pool.map(size);
    ASSERT_NE(buffer, nullptr);
    std::memset(buffer, 1, size);
    pool.put(buffer, size);
    EXPECT_EQ(pool.take(size), buffer);
    EXPECT_EQ(pool.take(size), nullptr);
    pool.put(buffer, size);
  }
  const std::uint64_t used = budget.used();
  EXPECT_GT(used, 0u);
  EXPECT_TRUE(pool.release(1));
  EXPECT_LT(budget.used(), used);
  EXPECT_TRUE(pool.release(~std::uint64_t{0}));
  EXPECT_EQ(budget.used(), 0u);
  EXPECT_FALSE(pool.release(1));
}

TEST(BufferPool, KeepsFewIdleAndNoneBeyondTheBudget) {
  constexpr std::size_t kSize = 1 << 20;
  Budget budget(64 << 20);
  BufferPool pool(budget);
  std::vector<std::byte*> buffers;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(budget.try_charge(kSize));
    buffers.push_back(pool.map(kSize));
  }
  for (int i = 0; i < 10; ++i) pool.put(buffers[static_cast<std::size_t>(i)], kSize);
  EXPECT_EQ(budget.used(), 14 * kSize) << "a sixteenth of the budget stays";
  budget.set_capacity(kSize);
  for (int i = 10; i < 20; ++i) pool.put(buffers[static_cast<std::size_t>(i)], kSize);
  EXPECT_EQ(budget.used(), 4 * kSize);
}

std::int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt;
}

// What the pool is for: a full cache takes new K/V blocks into memory that is already mapped.
TEST(BufferPool, AFullCacheWritesWithoutPageFaults) {
  const std::string value(std::size_t{1} << 20, 'x');   // 256 pages
  Cache cache({.capacity_bytes = 32 << 20});
  const auto put = [&](std::uint64_t i) { (void)cache.put(KeyBuilder("test/1").field("n", i).build(), value); };
  for (std::uint64_t i = 0; i < 50; ++i) put(i);
  const std::int64_t before = page_faults();
  for (std::uint64_t i = 50; i < 150; ++i) put(i);
  EXPECT_LT(page_faults() - before, 100) << "of 25,600 with fresh memory";
  EXPECT_GE(cache.stats().evictions, 100u);
}

}   // namespace
}   // namespace tensorcache::memory
