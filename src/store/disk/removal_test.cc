// What is removed stays removed, whatever happens around it.
#include <algorithm>
#include <cerrno>

#include "testing/store/disk.h"
#include "testing/core/eventually.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

TEST(DiskRemoval, WhatIsRemovedStaysRemoved) {
  testing::TestTier tier;
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(i % 5 == 0 ? tier.put(i, 1000) : tier.put_behind(i - 1, i, 1000));
  ASSERT_TRUE(tier.put(10, 1000, [](DiskTier::Value& value) { value.owner = 8; }));
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(tier->remove(key_of(2)));
  EXPECT_FALSE(tier->remove(key_of(77)));
  EXPECT_EQ(tier->clear(8), 1u);
  const auto check = [&] {
    for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(tier.has(i), i < 2 || i >= 5) << i << ": what is behind a removed one goes too";
    EXPECT_FALSE(tier.has(10));
  };
  check();
  ASSERT_TRUE(tier.flush());
  tier.restart();
  check();
  ASSERT_TRUE(tier.put_behind(1, 2, 1000)) << "and may be put again";
  ASSERT_TRUE(tier.put(10, 1000, [](DiskTier::Value& value) { value.owner = 8; }));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  EXPECT_TRUE(tier.has(2));
  EXPECT_TRUE(tier.has(10));
}

TEST(DiskRemoval, ARemovalCountsForWhatStillWaitsToBeWritten) {
  testing::TestTier tier;
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(tier.put(i, 50'000));
    tier->remove(key_of(i));
  }
  ASSERT_TRUE(tier.put(200, 1000));
  tier->clear(std::nullopt);
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->stats().entries, 0u);
  tier.restart();
  EXPECT_EQ(tier->stats().entries, 0u);
}

// While the disk is busy with something else, replacing values costs a sync or two for all of them,
// and one note for a key.
TEST(DiskRemoval, ManyAtOnceAreSyncedTogether) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  ASSERT_TRUE(tier.put(1000, 1000));
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(tier.put(i, 1000));
  ASSERT_TRUE(tier.flush());
  const std::uint64_t before = tier->stats().written_bytes;
  files->fail_call(testing::FaultFiles::kSync, UINT64_MAX, EIO);   // counts them
  files->set_write_delay(std::chrono::milliseconds(50));
  for (std::uint64_t i = 0; i < 200; ++i) {
    EXPECT_TRUE(tier->remove(key_of(i)));
    ASSERT_TRUE(tier.put(i, 1000));
    for (int again = 0; again < 100; ++again) tier->remove(key_of(1000));
  }
  files->set_write_delay(std::chrono::milliseconds(0));
  ASSERT_TRUE(tier.flush());
  EXPECT_LT(files->calls(), 20u);
  EXPECT_LT(tier->stats().written_bytes - before, 200u * 2000);
  const auto check = [&] {
    for (std::uint64_t i = 0; i < 200; ++i) EXPECT_TRUE(tier.has(i)) << i;
    EXPECT_FALSE(tier.has(1000));
  };
  check();
  tier.restart();
  check();
}

TEST(DiskRemoval, WhatExpiresBeforeItIsWrittenGivesWayToTheNext) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  files->set_write_delay(std::chrono::milliseconds(50));
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.put(2, 1000, [](DiskTier::Value& value) { value.expires_unix_ms = value.created_unix_ms + 1; }));
  ASSERT_TRUE(tier.put(2, 500));
  files->set_write_delay(std::chrono::milliseconds(0));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->bytes_of(std::vector<Key>{key_of(2)}), 500u);
  tier.restart();
  EXPECT_EQ(tier->bytes_of(std::vector<Key>{key_of(2)}), 500u);
}

TEST(DiskRemoval, ClearingEverythingLeavesNoBytes) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->clear(std::nullopt), 100u);
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(files->total_bytes(), 0u);
  EXPECT_EQ(tier->stats().used_bytes, 0u);
  ASSERT_TRUE(tier.put(1, 10));
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(tier.has(1));
}

TEST(DiskRemoval, SegmentsThatNothingPointsIntoGo) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(tier.put(i, 30'000, [](DiskTier::Value& value) { value.owner = 3; }));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->clear(3), 100u);
  ASSERT_TRUE(tier.flush());
  EXPECT_LT(files->total_bytes(), 512u << 10) << "at most the open segment";
}

TEST(DiskRemoval, APurgeLeavesNoByteOfIt) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 60; ++i) ASSERT_TRUE(i % 3 == 2 ? tier.put_behind(i - 1, i, 20'000) : tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  const std::uint64_t before = files->total_bytes();
  const std::vector<Key> keys{key_of(4), key_of(30), key_of(31)};   // 5 hangs behind 4, 32 behind 31
  EXPECT_EQ(tier->purge(keys), 5u);
  ASSERT_TRUE(tier.flush());
  EXPECT_LT(files->total_bytes(), before - 5 * 20'000);
  const auto gone = [](std::uint64_t i) { return i == 4 || i == 5 || (i >= 30 && i <= 32); };
  for (const auto& [path, bytes] : files->contents()) {
    for (std::uint64_t i = 0; i < 60; ++i) {
      const auto value = value_bytes(i, 64);
      const bool found = std::search(bytes.begin(), bytes.end(), value.begin(), value.end()) != bytes.end();
      EXPECT_FALSE(found && gone(i)) << i << " in " << path;
    }
  }
  tier.restart();
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(tier.has(i), !gone(i)) << i;
}

TEST(DiskRemoval, ClearingAnOwnerOverwritesWhatItHas) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 60; ++i) ASSERT_TRUE(tier.put(i, i == 7 ? 200'000 : 5'000, [i](DiskTier::Value& value) { value.owner = i % 2; }));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->clear(1), 30u);
  ASSERT_TRUE(tier.flush());
  for (const auto& [path, bytes] : files->contents()) {
    for (std::uint64_t i = 0; i < 60; ++i) {
      const auto value = value_bytes(i, i == 7 ? 200'000 : 5'000);
      for (const std::size_t at : {std::size_t{0}, value.size() - 64}) {
        const auto part = std::span(value).subspan(at, 64);
        EXPECT_FALSE(std::search(bytes.begin(), bytes.end(), part.begin(), part.end()) != bytes.end() && i % 2 == 1) << i << " in " << path;
      }
    }
  }
  tier.restart();
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(tier.has(i), i % 2 == 0) << i;
}

TEST(DiskRemoval, APurgeBesideARemovalUndoesNoRemoval) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  tier->remove(key_of(3));
  ASSERT_TRUE(tier.flush());
  for (std::uint64_t i = 30; i < 60; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  std::vector<Key> keys;
  for (std::uint64_t i = 20; i < 40; ++i) keys.push_back(key_of(i));
  EXPECT_EQ(tier->purge(keys), 20u);
  ASSERT_TRUE(tier.flush());
  tier.restart();
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(tier.has(i), i != 3 && (i < 20 || i >= 40)) << i;
  for (const auto& [path, bytes] : files->contents()) {
    for (std::uint64_t i = 20; i < 40; ++i) {
      const auto value = value_bytes(i, 64);
      EXPECT_EQ(std::search(bytes.begin(), bytes.end(), value.begin(), value.end()), bytes.end()) << i << " in " << path;
    }
  }
}

TEST(DiskRemoval, WhatIsRemovedWhileItRecoversStaysRemoved) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  // Parents that were written again, so that their children come before them.
  ASSERT_TRUE(tier.put(0, 20'000));
  for (std::uint64_t i = 1; i < 200; ++i) {
    ASSERT_TRUE(tier.put_behind(i % 8 == 0 ? 0 : i - 1, i, 20'000));
    ASSERT_TRUE(tier.flush());
  }
  ASSERT_GT(tier->stats().written_again, 0u);
  tier.stop();
  for (int round = 0; round < 6; ++round) {
    files->set_read_delay(std::chrono::milliseconds(3));
    DiskTier recovering(tier.options());
    for (std::uint64_t i = 199; i > 150; i -= 7) {
      recovering.remove(key_of(i));
      std::this_thread::sleep_for(std::chrono::milliseconds(round));
    }
    if (round == 5) recovering.clear(0);
    ASSERT_TRUE(recovering.wait_ready(std::chrono::seconds(20)));
    files->set_read_delay(std::chrono::milliseconds(0));
    for (std::uint64_t i = 199; i > 150; i -= 7) EXPECT_FALSE(recovering.contains(key_of(i))) << i;
    ASSERT_TRUE(recovering.flush(std::chrono::seconds(20)));
  }
  tier.start();
  EXPECT_EQ(tier->stats().entries, 0u);
}

TEST(DiskRemoval, AValueThatLostItsEntryCanStillBeRemoved) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  files->fail_call(testing::FaultFiles::kRead, 1, EIO);
  EXPECT_FALSE(tier.has(1));
  tier->remove(key_of(1));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  EXPECT_FALSE(tier.has(1));
}

TEST(DiskRemoval, AKeyThatIsNowhereCostsNoWrite) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  const std::uint64_t written = tier->stats().written_bytes;
  files->fail_call(testing::FaultFiles::kWrite | testing::FaultFiles::kSync, UINT64_MAX, EIO);   // counts them
  for (std::uint64_t i = 100; i < 1100; ++i) EXPECT_FALSE(tier->remove(key_of(i)));
  EXPECT_EQ(tier->purge({}), 0u);
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(files->calls(), 0u);
  EXPECT_EQ(tier->stats().written_bytes, written);
  EXPECT_EQ(tier->stats().unlisted_records, 0u);
}

// Its parent is evicted, so it has no entry; its record is still in the log.
TEST(DiskRemoval, AValueWhoseParentWasEvictedCanStillBeRemoved) {
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  ASSERT_TRUE(tier.put(0, 20'000));
  for (std::uint64_t i = 10; i < 40; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.put_behind(0, 1, 1000));
  ASSERT_TRUE(tier.flush());
  tier->resize(512 << 10);   // evicts without writing again
  ASSERT_TRUE(eventually([&] { return !tier->contains(key_of(0)); }));
  ASSERT_FALSE(tier->contains(key_of(1)));
  ASSERT_GT(tier->stats().unlisted_records, 0u);
  EXPECT_FALSE(tier->remove(key_of(1)));
  ASSERT_TRUE(tier.put(0, 1000));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  EXPECT_TRUE(tier.has(0));
  EXPECT_FALSE(tier.has(1)) << "what was removed came back behind its parent";
}

TEST(DiskRemoval, ADamagedOrExpiredValueIsForgottenForGood) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  ASSERT_TRUE(tier.put(1, 1000, [&](DiskTier::Value& value) { value.expires_unix_ms = tier.now_ms() + 10; }));
  ASSERT_TRUE(tier.put(2, 1000));
  ASSERT_TRUE(tier.flush());
  tier.now_ms() += 20;
  EXPECT_FALSE(tier.has(1));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->stats().unlisted_records, 0u) << "or each removal from now on would be logged";
  tier.now_ms() -= 20;
  tier.restart();
  EXPECT_FALSE(tier.has(1));
  EXPECT_TRUE(tier.has(2));
}

TEST(DiskRemoval, TooManyThatWaitForABrokenDiskDropTheLog) {
  const auto files = std::make_shared<testing::FaultFiles>();
  constexpr std::uint64_t kMany = DiskTier::kMaxRemovals + 2000;
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 64 << 20; });
  for (std::uint64_t i = 0; i < kMany; ++i) {
    ASSERT_TRUE(tier.put(i, 10));
    if (i % 1000 == 0) {
      ASSERT_TRUE(tier.flush());
    }
  }
  ASSERT_TRUE(tier.flush());
  files->fail_call(testing::FaultFiles::kWrite | testing::FaultFiles::kSync | testing::FaultFiles::kOpen, 1, EIO, true);
  ASSERT_TRUE(tier.put(kMany, 10));
  EXPECT_FALSE(tier.flush());
  EXPECT_TRUE(tier->wait_for_room(std::chrono::seconds(20)));
  for (std::uint64_t i = 0; i < kMany; ++i) {
    static_cast<void>(tier->remove(key_of(i)));
    ASSERT_LE(tier->stats().queued_removals, DiskTier::kMaxRemovals);
  }
  EXPECT_EQ(tier->stats().collapsed_logs, 1u);
  EXPECT_EQ(tier->stats().entries, 0u);
  EXPECT_LE(tier->stats().queued_removals, 2u) << "one says it all";
  files->fail_nothing();
  ASSERT_TRUE(tier.healed());
  tier.restart();
  EXPECT_LE(tier->stats().entries, 2u) << "but for what came after";
  for (std::uint64_t i = 0; i < kMany; i += 501) ASSERT_FALSE(tier.has(i)) << i;
}

TEST(DiskRemoval, ASlowDiskHoldsBackWhoeverRemoves) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 64 << 20; });
  for (std::uint64_t i = 0; i < DiskTier::kMaxRemovals; ++i) {
    ASSERT_TRUE(tier.put(i, 10));
    if (i % 1000 == 0) {
      ASSERT_TRUE(tier.flush());
    }
  }
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(tier->wait_for_room(std::chrono::milliseconds(0)));
  files->set_write_delay(std::chrono::milliseconds(300));
  for (std::uint64_t i = 0; i + 1000 < DiskTier::kMaxRemovals; ++i) EXPECT_TRUE(tier->remove(key_of(i)));
  EXPECT_FALSE(tier->wait_for_room(std::chrono::milliseconds(0)));
  files->set_write_delay(std::chrono::milliseconds(0));
  EXPECT_TRUE(tier->wait_for_room(std::chrono::seconds(60)));
  EXPECT_EQ(tier->stats().collapsed_logs, 0u);
}

TEST(DiskRemoval, WhatHangsBehindAKeyIsKnown) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  files->set_write_delay(std::chrono::milliseconds(20));
  ASSERT_TRUE(tier.put(1, 1000));
  EXPECT_FALSE(tier->has_children(key_of(1)));
  ASSERT_TRUE(tier.put_behind(1, 2, 1000));
  EXPECT_TRUE(tier->has_children(key_of(1))) << "queued";
  EXPECT_FALSE(tier->has_children(key_of(2)));
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(tier->has_children(key_of(1))) << "stored";
  tier->remove(key_of(2));
  EXPECT_FALSE(tier->has_children(key_of(1)));
}

}   // namespace
}   // namespace tensorcache::disk
