// What a user of the tier sees while nothing goes wrong.

#include "testing/store/disk.h"
#include "testing/core/eventually.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

TEST(DiskTier, WhatWasPutIsReadAlsoAfterAStop) {
  testing::TestTier tier;
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(tier.put(i, 1000 * i));
  ASSERT_TRUE(tier.flush());
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 50; ++i) EXPECT_TRUE(tier.has(i)) << i;
    EXPECT_FALSE(tier.has(50));
    EXPECT_EQ(tier->stats().entries, 50u);
    tier.restart();
  }
  EXPECT_EQ(tier->stats().lost_bytes, 0u);
  EXPECT_TRUE(tier.events().empty()) << tier.events().front();
}

TEST(DiskTier, TheRecordTellsWhatTheValueIs) {
  testing::TestTier tier;
  ASSERT_TRUE(tier.put(1, 10));
  ASSERT_TRUE(tier.put(2, 20, [&](DiskTier::Value& value) {
    value.kind = Kind::kAnswer;
    value.owner = 5;
    value.source = 6;
    value.parent = key_of(1);
    value.expires_unix_ms = tier.now_ms() + 1000;
  }));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  std::vector<std::byte> bytes(20);
  const Key key = key_of(2);
  const DiskTier::ReadResult read = tier->read(
      std::span(&key, 1),
      [&](std::size_t, const DiskTier::Found& found) {
        EXPECT_EQ(found.kind, Kind::kAnswer);
        EXPECT_EQ(found.owner, 5u);
        EXPECT_EQ(found.source, 6u);
        EXPECT_EQ(found.parent, key_of(1));
        return std::span(bytes);
      },
      [&](std::size_t, const tier::Copy& copy) {
        EXPECT_EQ(copy.created_unix_ms, tier.now_ms());
        EXPECT_EQ(copy.expires_unix_ms, tier.now_ms() + 1000);
        return DiskTier::Verdict::kTaken;
      });
  EXPECT_EQ(read.accepted, 1u);
}

TEST(DiskTier, AChainIsReadWithFewReads) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  std::vector<std::uint64_t> chain;
  for (std::uint64_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(i == 0 ? tier.put(i, 4000) : tier.put_behind(i - 1, i, 4000));
    chain.push_back(i);
  }
  ASSERT_TRUE(tier.flush());
  files->fail_call(testing::FaultFiles::kRead, 0, 0);   // counts from here
  EXPECT_EQ(tier.read(chain), 40u);
  EXPECT_LE(files->calls(), 2u);
  chain.insert(chain.begin() + 20, 999);
  EXPECT_EQ(tier.read(chain), 20u) << "up to what is not stored";
}

TEST(DiskTier, TheBudgetHoldsAtEveryInstantAndOldValuesGoFirst) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  for (std::uint64_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(tier.put(i, 30'000));
    if (i % 10 == 0) {
      ASSERT_TRUE(tier.flush());
    }
  }
  ASSERT_TRUE(tier.flush());
  EXPECT_LE(files->peak_bytes(), 2u << 20);
  EXPECT_FALSE(tier.has(0));
  EXPECT_TRUE(tier.has(299));
  const DiskStats stats = tier->stats();
  EXPECT_EQ(stats.used_bytes, files->total_bytes());
  EXPECT_GT(stats.evictions, 0u);
  EXPECT_GT(stats.value_bytes, 1'200'000u) << "and it is used well";
  EXPECT_EQ(stats.dropped_puts, 0u);
}

TEST(DiskTier, WhatIsUsedIsWrittenAgain) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) {
    options.capacity_bytes = 2 << 20;
    options.in_memory = [](const Key& key) { return key == key_of(2); };
  });
  for (std::uint64_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(tier.put(i, 30'000));
    ASSERT_TRUE(tier.flush());
    ASSERT_TRUE(tier.has(1) || i < 1) << i;
  }
  EXPECT_TRUE(tier.has(2)) << "it was in use in memory all the time";
  EXPECT_FALSE(tier.has(3));
  EXPECT_GT(tier->stats().written_again, 0u);
  EXPECT_LE(files->peak_bytes(), 2u << 20);
  tier.restart();
  EXPECT_TRUE(tier.has(1));
  EXPECT_TRUE(tier.has(2));
}

TEST(DiskTier, ASharedPrefixOutlivesTheConversationsBehindIt) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  ASSERT_TRUE(tier.put(0, 20'000));
  ASSERT_TRUE(tier.put_behind(0, 1, 20'000));
  std::uint64_t last = 0;
  for (std::uint64_t conversation = 1; conversation < 60; ++conversation) {
    for (std::uint64_t block = 0; block < 5; ++block) {
      const std::uint64_t number = 1000 * conversation + block;
      ASSERT_TRUE(tier.put_behind(block == 0 ? 1 : number - 1, number, 20'000));
      last = number;
    }
    ASSERT_TRUE(tier.flush());
  }
  EXPECT_EQ(tier.read({0, 1, last - 4, last - 3, last - 2, last - 1, last}), 7u);
  EXPECT_FALSE(tier.has(1000));
  // Nothing that is left is unreachable.
  for (std::uint64_t conversation = 1; conversation < 60; ++conversation) {
    for (std::uint64_t block = 1; block < 5; ++block) {
      const std::uint64_t number = 1000 * conversation + block;
      EXPECT_TRUE(!tier->contains(key_of(number)) || tier->contains(key_of(number - 1))) << number;
    }
  }
  tier.restart();
  EXPECT_EQ(tier.read({0, 1, last - 4, last - 3, last - 2, last - 1, last}), 7u);
  EXPECT_LE(files->peak_bytes(), 2u << 20);
}

TEST(DiskTier, EverythingInUseStillMakesRoom) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) {
    options.capacity_bytes = 2 << 20;
    options.in_memory = [](const Key&) { return true; };
  });
  for (std::uint64_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(tier.put(i, 30'000));
    ASSERT_TRUE(tier.flush()) << i;
  }
  EXPECT_TRUE(tier.has(299));
  EXPECT_LE(files->peak_bytes(), 2u << 20);
}

TEST(DiskTier, AShrinkTakesEffectAndAGrowthToo) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  tier->resize(1 << 20);
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(eventually([&] { return files->total_bytes() <= 1u << 20; }));
  EXPECT_GT(tier->stats().entries, 0u);
  tier->resize(8 << 20);
  for (std::uint64_t i = 200; i < 300; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  for (std::uint64_t i = 200; i < 300; ++i) EXPECT_TRUE(tier.has(i));
}

TEST(DiskTier, ExpiredValuesAreNotServedWhateverTheClockDoes) {
  testing::TestTier tier;
  const auto expiring = [&](std::uint64_t number) {
    ASSERT_TRUE(tier.put(number, 100, [&](DiskTier::Value& value) { value.expires_unix_ms = tier.now_ms() + 10'000; }));
    ASSERT_TRUE(tier.flush());
  };
  expiring(1);
  EXPECT_TRUE(tier.has(1));
  tier.now_ms() += 10'000;
  EXPECT_FALSE(tier.has(1));
  EXPECT_EQ(tier->stats().expirations, 1u);
  expiring(2);
  ASSERT_TRUE(tier.put(3, 100));
  ASSERT_TRUE(tier.flush());
  tier.now_ms() -= 86'400'000;   // nobody knows how old it is now
  EXPECT_FALSE(tier.has(2));
  EXPECT_TRUE(tier.has(3)) << "this one never expires";
  tier.restart();
  EXPECT_TRUE(tier.has(3));
}

TEST(DiskTier, TooLargeAndTooManyAreDroppedAndCounted) {
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), [](DiskTierOptions& options) { options.queue_bytes = 100'000; });
  EXPECT_FALSE(tier.put(1, 300'000)) << "larger than a segment";
  EXPECT_EQ(tier->stats().too_large_puts, 1u);
  int accepted = 0;
  for (std::uint64_t i = 0; i < 2000; ++i) accepted += tier.put(10 + i, 40'000);
  EXPECT_EQ(tier->stats().dropped_puts, 2000u - static_cast<std::uint64_t>(accepted));
  EXPECT_TRUE(tier.flush());
  EXPECT_EQ(tier->stats().queued_bytes, 0u);
}

TEST(DiskTier, SeveralValuesAtOnceAreOneWrite) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.segment_bytes = 4 << 20, options.capacity_bytes = 64 << 20; });
  ASSERT_TRUE(tier.put(1, 10));
  ASSERT_TRUE(tier.flush());
  files->fail_call(testing::FaultFiles::kWrite, 0, 0);
  files->set_write_delay(std::chrono::milliseconds(30));   // they come while the first is written
  for (std::uint64_t i = 10; i < 60; ++i) ASSERT_TRUE(tier.put(i, 10'000));
  ASSERT_TRUE(tier.flush());
  EXPECT_LE(files->calls(), 10u);
  const DiskStats stats = tier->stats();
  EXPECT_LT(static_cast<double>(stats.written_bytes), 1.1 * static_cast<double>(stats.accepted_bytes));
}

TEST(DiskTier, TheIndexAsksForItsMemory) {
  std::uint64_t charged = 0;
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), [&](DiskTierOptions& options) {
    options.charge = [&](std::uint64_t bytes) { return charged + bytes <= 300'000 && (charged += bytes, true); };
    options.give_back = [&](std::uint64_t bytes) { charged -= bytes; };
    options.capacity_bytes = 64 << 20;
  });
  for (std::uint64_t i = 0; i < 6000; ++i) ASSERT_TRUE(tier.put(i, 10));
  EXPECT_FALSE(tier.flush()) << "not all of it was kept";
  EXPECT_EQ(tier->stats().index_bytes, charged);
  EXPECT_GT(tier->stats().index_full, 0u);
  EXPECT_TRUE(tier.has(0));
  tier.stop();
  EXPECT_EQ(charged, 0u);
}

TEST(DiskTier, RestartsDoNotPileUpSegments) {
  testing::TestTier tier;
  for (std::uint64_t i = 0; i < 30; ++i) {
    ASSERT_TRUE(tier.put(i, 3000));
    ASSERT_TRUE(tier.flush());
    tier.restart();
  }
  for (std::uint64_t i = 0; i < 30; ++i) EXPECT_TRUE(tier.has(i)) << i;
  EXPECT_LE(tier->stats().segments, 2u);
}

}   // namespace
}   // namespace tensorcache::disk
