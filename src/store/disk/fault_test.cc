// The faults that disks have. In each: what is served is right, nothing hangs, the counters tell,
// and it works again afterwards.
#include <gmock/gmock.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "testing/store/disk.h"
#include "testing/core/eventually.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

// Puts, reads, removes, restarts. Every value that is read is checked.
void exercise(testing::TestTier& tier) {
  for (std::uint64_t i = 0; i < 12; ++i) static_cast<void>(i % 4 == 0 ? tier.put(i, 30'000) : tier.put_behind(i - 1, i, 30'000));
  static_cast<void>(tier.flush());
  for (std::uint64_t i = 0; i < 12; i += 4) static_cast<void>(tier.read({i, i + 1, i + 2, i + 3}));
  tier->remove(key_of(5));
  static_cast<void>(tier.flush());
  tier.restart();
  EXPECT_FALSE(tier.has(5));
  for (std::uint64_t i = 0; i < 12; ++i) static_cast<void>(tier.has(i));
  for (std::uint64_t i = 20; i < 30; ++i) static_cast<void>(tier.put(i, 30'000));
  static_cast<void>(tier.flush());
  for (std::uint64_t i = 20; i < 30; ++i) static_cast<void>(tier.has(i));
}

struct Failing {
  unsigned calls;
  int error;
};

class EveryCallInTurn : public ::testing::TestWithParam<Failing> {};

TEST_P(EveryCallInTurn, CostsValuesAtMost) {
  std::uint64_t happened = 0;
  for (std::uint64_t n = 1;; ++n) {
    const auto files = std::make_shared<testing::FaultFiles>();
    files->fail_call(GetParam().calls, n, GetParam().error);
    try {
      testing::TestTier tier(files);
      // A removal that could not be written before the restart is lost with the process; that is
      // what its flush() says.
      exercise(tier);
      ASSERT_TRUE(tier.healed()) << "call " << n;
      EXPECT_FALSE(tier->stats().degraded);
    } catch (const std::runtime_error& error) {
      const std::string reason = std::strerror(GetParam().error);
      EXPECT_THAT(error.what(), ::testing::AnyOf("disk cache cache: " + reason, "disk cache cache: cannot be locked: " + reason));
    }
    happened += files->faults();
    if (files->faults() == 0) break;   // there are no n calls
    ASSERT_LT(n, 2000u);
  }
  EXPECT_GT(happened, 0u);
}

INSTANTIATE_TEST_SUITE_P(Calls, EveryCallInTurn,
                         ::testing::Values(Failing{testing::FaultFiles::kRead, EIO}, Failing{testing::FaultFiles::kWrite, EIO},
                                           Failing{testing::FaultFiles::kWrite, ENOSPC}, Failing{testing::FaultFiles::kSync, EIO},
                                           Failing{testing::FaultFiles::kOpen, EMFILE}, Failing{testing::FaultFiles::kNames, EIO},
                                           Failing{testing::FaultFiles::kAny, EIO}));

TEST(DiskFaults, ShortReadsAndWritesAreGoneOnWith) {
  const auto files = std::make_shared<testing::FaultFiles>();
  files->short_transfers(true);
  testing::TestTier tier(files);
  exercise(tier);
  for (std::uint64_t i = 20; i < 30; ++i) EXPECT_TRUE(tier.has(i));
  EXPECT_EQ(tier->stats().read_errors + tier->stats().write_errors + tier->stats().corrupt_records, 0u);
}

TEST(DiskFaults, AReadErrorIsAMissAndCostsOneValue) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(tier.put(i, 1000));
  ASSERT_TRUE(tier.flush());
  files->fail_call(testing::FaultFiles::kRead, 1, EIO);
  EXPECT_FALSE(tier.has(2));
  EXPECT_EQ(files->faults(), 1u);
  EXPECT_EQ(tier->stats().read_errors, 1u);
  for (const std::uint64_t i : {0, 1, 3, 4}) EXPECT_TRUE(tier.has(i));
  // In the middle of several that are read at once: each is tried alone.
  files->fail_call(testing::FaultFiles::kRead, 1, EIO);
  EXPECT_EQ(tier.read({0, 1}), 2u);
}

TEST(DiskFaults, AFullDiskIsLivedWith) {
  const auto files = std::make_shared<testing::FaultFiles>();
  files->set_room(1 << 20);   // of the 8 MiB that the tier thinks it has
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(tier.put(i, 30'000)) << i;
    ASSERT_TRUE(tier.flush()) << i;
    ASSERT_TRUE(tier.has(i)) << i;
  }
  EXPECT_GT(files->faults(), 0u);
  EXPECT_FALSE(tier->stats().degraded);
  EXPECT_GT(tier->stats().evictions, 0u);
  tier.restart();
  EXPECT_TRUE(tier.has(199));
}

TEST(DiskFaults, ADiskFullOfOthersFilesDegradesAndHeals) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  files->set_room(1);
  ASSERT_TRUE(tier.put(2, 1000));
  EXPECT_FALSE(tier.flush());
  EXPECT_TRUE(eventually([&] { return tier->stats().degraded; }));
  EXPECT_GT(tier->stats().write_errors, 0u);
  EXPECT_GT(files->faults(), 0u);
  files->set_room(0);
  EXPECT_TRUE(tier.healed());
  ASSERT_FALSE(tier.events().empty());
  EXPECT_NE(tier.events().front().find("No space left"), std::string::npos) << tier.events().front();
}

TEST(DiskFaults, RoomForAHeaderAndNoMoreIsAFullDisk) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  files->set_room(400);
  ASSERT_TRUE(tier.put(50, 20'000));
  EXPECT_FALSE(tier.flush());
  EXPECT_GT(tier->stats().write_errors, 0u) << "it may work again for the moment: a header fits";
  files->set_room(0);
  EXPECT_TRUE(tier.healed());
  ASSERT_FALSE(tier.events().empty());
  EXPECT_NE(tier.events().front().find("No space left"), std::string::npos) << tier.events().front();
}

TEST(DiskFaults, WhatCouldNotBeClearedIsClearedLater) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 40; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  files->fail_call(testing::FaultFiles::kNames, 1, EROFS, true);
  EXPECT_EQ(tier->clear(std::nullopt), 40u);
  EXPECT_FALSE(tier.flush()) << "and says so";
  EXPECT_GT(files->faults(), 0u);
  files->fail_nothing();
  ASSERT_TRUE(tier.healed());
  tier.restart();
  for (std::uint64_t i = 0; i < 40; ++i) EXPECT_FALSE(tier.has(i)) << i;
}

TEST(DiskFaults, AShrinkWaitsForADiskThatRefuses) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  files->fail_call(testing::FaultFiles::kNames, 1, EROFS, true);
  tier->resize(1 << 20);
  EXPECT_TRUE(eventually([&] { return tier->stats().degraded; }));
  files->fail_nothing();
  EXPECT_TRUE(tier.healed());
  EXPECT_TRUE(eventually([&] { return files->total_bytes() <= 1u << 20; }));
}

TEST(DiskFaults, AReadOnlyDiskStillServes) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(tier.put(i, 1000));
  ASSERT_TRUE(tier.flush());
  files->fail_call(testing::FaultFiles::kWrite | testing::FaultFiles::kOpen | testing::FaultFiles::kSync, 1, EROFS, true);
  ASSERT_TRUE(tier.put(9, 1000));
  EXPECT_FALSE(tier.flush());
  EXPECT_TRUE(tier->stats().degraded);
  EXPECT_NE(tier->stats().reason.find("Read-only"), std::string::npos) << tier->stats().reason;
  for (std::uint64_t i = 0; i < 5; ++i) EXPECT_TRUE(tier.has(i));
  EXPECT_FALSE(tier.has(9));
  EXPECT_FALSE(tier.put(10, 10)) << "not even queued";
  EXPECT_TRUE(tier->remove(key_of(3)));
  files->fail_nothing();
  EXPECT_TRUE(tier.healed());
  tier.restart();
  EXPECT_FALSE(tier.has(3)) << "what was removed meanwhile stays removed";
  EXPECT_TRUE(tier.has(4));
}

TEST(DiskFaults, AFailedSyncIsNeverTakenForASyncedFile) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.sync = DiskSync::kRecord; });
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  files->fail_call(testing::FaultFiles::kSync, 1, EIO);
  ASSERT_TRUE(tier.put(2, 1000));
  EXPECT_FALSE(tier.flush()) << "it is not durable, and says so";
  EXPECT_EQ(files->faults(), 1u);
  EXPECT_FALSE(tier.has(2));
  ASSERT_TRUE(tier.healed());
  ASSERT_TRUE(tier.put(3, 1000));
  ASSERT_TRUE(tier.flush());
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    testing::TestTier after(files->after_power_cut(seed));
    EXPECT_TRUE(after.has(1));
    EXPECT_TRUE(after.has(3));
    static_cast<void>(after.has(2));   // right, or not there
  }
}

TEST(DiskFaults, ADirectoryDeletedUnderItIsMadeAgain) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  files->delete_directory();
  EXPECT_TRUE(eventually([&] { return tier->stats().entries == 0; })) << "files that nobody sees are let go";
  EXPECT_TRUE(tier.healed());
  ASSERT_TRUE(tier.put(100, 1000));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  EXPECT_TRUE(tier.has(100));
}

TEST(DiskFaults, ASegmentOfAnotherVersionIsIgnoredAndSaidOnce) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  tier.stop();
  auto contents = files->contents();
  auto& first = contents.at("cache/" + segment_name(1));
  first[8] = first[72] = std::byte{9};
  files->set_contents(contents);
  tier.start();
  EXPECT_EQ(tier->stats().unknown_segments, 1u);
  EXPECT_FALSE(tier.has(0));
  EXPECT_TRUE(tier.has(19));
  ASSERT_EQ(tier.events().size(), 1u);
  EXPECT_NE(tier.events()[0].find("unknown format version"), std::string::npos);
  EXPECT_EQ(tier->stats().used_bytes, files->total_bytes()) << "its bytes count";
}

TEST(DiskFaults, ASegmentFromTheFutureIsAsGoodAsAnother) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  ASSERT_TRUE(tier.put(1, 100));
  ASSERT_TRUE(tier.flush());
  tier.stop();
  tier.now_ms() -= 365LL * 86'400'000;
  tier.start();
  EXPECT_TRUE(tier.has(1));
  ASSERT_TRUE(tier.put(2, 100));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  EXPECT_TRUE(tier.has(1) && tier.has(2));
}

TEST(DiskFaults, AnyOneBitCostsAtMostOneValue) {
  const auto files = std::make_shared<testing::FaultFiles>();
  {
    testing::TestTier tier(files, [](DiskTierOptions& options) { options.segment_bytes = 64 << 10; });
    for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(tier.put(i, 100 + 300 * i));
    ASSERT_TRUE(tier.flush());
  }
  const auto golden = files->contents();
  ASSERT_GE(golden.size(), 3u);
  std::mt19937 random(5);
  std::uint64_t noticed = 0;
  for (const auto& [path, bytes] : golden) {
    for (std::size_t offset = 0; offset < bytes.size(); offset += 1 + random() % 97) {
      auto contents = golden;
      contents[path][offset] ^= std::byte{1} << (random() % 8);
      const auto damaged = std::make_shared<testing::FaultFiles>();
      damaged->set_contents(contents);
      testing::TestTier tier(damaged, [](DiskTierOptions& options) { options.segment_bytes = 64 << 10; });
      std::uint64_t lost = 0;
      for (std::uint64_t i = 0; i < 30; ++i) lost += tier.has(i) ? 0 : 1;
      ASSERT_LE(lost, 1u) << path << " at " << offset;
      noticed += lost;
    }
  }
  EXPECT_GT(noticed, 100u);
}

TEST(DiskFaults, APowerCutTakesTheOpenSegmentAtMostWhereSegmentsAreSynced) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.sync = DiskSync::kSegment; });
  constexpr std::uint64_t kValues = 100, kInASegment = 13;   // 20,000 bytes of 256 KiB
  for (std::uint64_t i = 0; i < kValues; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  std::uint64_t lost = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    testing::TestTier after(files->after_power_cut(seed));
    for (std::uint64_t i = 0; i < kValues; ++i) {
      const bool there = after.has(i);
      ASSERT_TRUE(there || i >= kValues - kInASegment) << "value " << i << ", cut " << seed;
      lost += there ? 0 : 1;
    }
  }
  EXPECT_GT(lost, 0u) << "the cuts took nothing";
}

// Cuts the power at any moment of a random life, many times.
class PowerCut : public ::testing::TestWithParam<DiskSync> {};

TEST_P(PowerCut, LeavesRightValuesAndWhatWasPromised) {
  const char* const more = std::getenv("TENSORCACHE_POWER_CUTS");
  const std::uint64_t lives = more != nullptr ? std::strtoull(more, nullptr, 10) : 150;
  std::uint64_t lost = 0, kept = 0;
  for (std::uint64_t life = 0; life < lives; ++life) {
    std::mt19937_64 random(life);
    auto files = std::make_shared<testing::FaultFiles>();
    std::map<std::uint64_t, bool> promised;   // number → is stored
    testing::TestTier tier(files, [](DiskTierOptions& options) {
      options.sync = GetParam();
      options.segment_bytes = 64 << 10;
    });
    const std::uint64_t steps = 1 + random() % 40;
    for (std::uint64_t step = 0; step < steps; ++step) {
      const std::uint64_t number = random() % 60;
      if (random() % 12 == 0) {
        tier.restart();
      } else if (random() % 6 == 0) {
        tier->remove(key_of(number));
        promised.erase(number);
        if (tier.flush()) promised[number] = false;
      } else {
        static_cast<void>(tier.put(number, 1 + number * 211));
        if (promised.contains(number) && !promised[number]) promised.erase(number);
        if (random() % 2 == 0 && tier.flush()) promised[number] = true;
      }
    }
    for (std::uint64_t cut = 0; cut < 4; ++cut) {
      testing::TestTier after(files->after_power_cut(1000 * life + cut), [](DiskTierOptions& options) { options.segment_bytes = 64 << 10; });
      for (std::uint64_t number = 0; number < 60; ++number) {
        const bool there = after.has(number);
        (there ? kept : lost) += 1;
        const auto promise = promised.find(number);
        if (promise == promised.end()) continue;
        if (GetParam() == DiskSync::kRecord && promise->second) {
          ASSERT_TRUE(there) << "life " << life << ", cut " << cut << ", value " << number;
        }
        ASSERT_TRUE(promise->second || !there) << "removed in life " << life << ", cut " << cut << ", value " << number;
      }
      ASSERT_TRUE(after.healed());
    }
  }
  EXPECT_GT(lost, 0u);
  EXPECT_GT(kept, 0u);
}

INSTANTIATE_TEST_SUITE_P(Modes, PowerCut, ::testing::Values(DiskSync::kNone, DiskSync::kSegment, DiskSync::kRecord));

}   // namespace
}   // namespace tensorcache::disk
