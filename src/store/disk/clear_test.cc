// Clearing one owner: in slices that let others in, with nothing of it served or found again
// afterwards, and nothing lost that came later.
#include <atomic>
#include <thread>

#include "testing/store/disk.h"
#include "testing/core/eventually.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

void put_of_owner(testing::TestTier& tier, std::uint64_t owner, std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t i = begin; i < end; ++i) {
    ASSERT_TRUE(tier.put(i, 10, [&](DiskTier::Value& value) { value.owner = owner; }));
    if (i % 1000 == 0) {
      ASSERT_TRUE(tier.flush());
    }
  }
  ASSERT_TRUE(tier.flush());
}

TEST(DiskClear, OthersGetInBetween) {
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), [](DiskTierOptions& options) { options.capacity_bytes = 64 << 20; });
  constexpr std::uint64_t kMany = 20'000;
  bool seen = false;
  for (int round = 0; round < 50 && !seen; ++round) {
    put_of_owner(tier, 5, 0, kMany);
    std::atomic<bool> done{false};
    std::thread reader([&] {
      while (!done) {
        const std::uint64_t entries = tier->stats().entries;
        seen = seen || (entries > 0 && entries < kMany);
      }
    });
    EXPECT_EQ(tier->clear(5), kMany);
    done = true;
    reader.join();
    EXPECT_EQ(tier->stats().entries, 0u);
  }
  EXPECT_TRUE(seen) << "the mutex was held from the first to the last";
}

TEST(DiskClear, TakesWhatHangsBehindTheOwnersValuesAndNoOthers) {
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), [](DiskTierOptions& options) { options.capacity_bytes = 64 << 20; });
  put_of_owner(tier, 5, 0, 1);
  for (std::uint64_t i = 1; i < 6000; ++i) {   // more than one slice erases
    ASSERT_TRUE(tier.put(i, 10, [&](DiskTier::Value& value) { value.owner = 6, value.parent = key_of(i % 3 == 0 ? 0 : i - 1); }));
    if (i % 1000 == 0) {
      ASSERT_TRUE(tier.flush());
    }
  }
  put_of_owner(tier, 6, 10'000, 10'100);
  EXPECT_EQ(tier->clear(5), 6000u);
  const auto check = [&] {
    EXPECT_EQ(tier->stats().entries, 100u);
    EXPECT_FALSE(tier.has(0) || tier.has(1) || tier.has(5999));
    for (std::uint64_t i = 10'000; i < 10'100; ++i) EXPECT_TRUE(tier.has(i)) << i;
  };
  check();
  ASSERT_TRUE(tier.flush());
  tier.restart();
  check();
}

// Several clear while values are put, written, evicted and removed.
TEST(DiskClear, WhileOthersWriteNothingOlderStaysAndNothingLaterIsLost) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 32 << 20; });
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::uint64_t i = 0; !stop; i = ++next) {
      static_cast<void>(tier.put(i, 10 + i % 300, [&](DiskTier::Value& value) { value.owner = 1 + i % 2; }));
      if (i % 256 == 0) static_cast<void>(tier.flush());   // or the queue is full
    }
  });
  std::thread other([&] {
    for (std::uint64_t i = 0; !stop; ++i) {
      tier->clear(2);
      tier->remove(key_of(i * 7));
      if (i % 16 != 0) continue;
      tier->purge(std::vector<Key>{key_of(i * 11), key_of(i * 13)});
      static_cast<void>(tier.flush());   // or so many wait that the log is dropped
    }
  });
  std::uint64_t cleared = 0;
  for (std::uint64_t round = 0; round < 30; ++round) {
    ASSERT_TRUE(eventually([&] { return next >= cleared + 100; }));
    const std::uint64_t before = next;
    tier->clear(1);
    for (std::uint64_t i = cleared / 2 * 2; i < before; i += 2) ASSERT_FALSE(tier->contains(key_of(i))) << i;
    cleared = before;
    const std::uint64_t later = 10'000'000 + round;
    const auto stores = [&] { return tier.put(later, 10, [](DiskTier::Value& value) { value.owner = 1; }); };
    ASSERT_TRUE(eventually(stores)) << "the queue stays full";
    static_cast<void>(tier.flush());
    EXPECT_TRUE(tier->contains(key_of(later))) << "it was put after the clearing";
  }
  stop = true;
  writer.join();
  other.join();
  tier->clear(2);
  ASSERT_TRUE(tier.flush());
  tier.restart();
  for (std::uint64_t i = 0; i < cleared; i += 2) ASSERT_FALSE(tier->contains(key_of(i))) << i;
  for (std::uint64_t i = 1; i < next; i += 2) ASSERT_FALSE(tier->contains(key_of(i))) << i;
  EXPECT_TRUE(tier.has(10'000'029));
  EXPECT_EQ(tier->stats().collapsed_logs, 0u);
}

}   // namespace
}   // namespace tensorcache::disk
