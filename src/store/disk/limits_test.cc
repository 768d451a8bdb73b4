// What the tier may take of memory, descriptors and disk: each limit is reached, holds, and nothing
// stops working.
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "store/disk/format.h"
#include "testing/store/disk.h"
#include "testing/core/eventually.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

constexpr std::uint64_t kIndexBytes = 400'000;   // about 4,000 entries

void put_small(testing::TestTier& tier, std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t i = begin; i < end; ++i) {
    ASSERT_TRUE(tier.put(i, 10));
    if (i % 500 == 0) {
      ASSERT_TRUE(tier.flush()) << i;
    }
  }
  ASSERT_TRUE(tier.flush());
}

TEST(DiskLimits, AnIndexAtItsLimitEvictsTheOldest) {
  std::uint64_t charged = 0, peak = 0;
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), [&](DiskTierOptions& options) {
    options.capacity_bytes = 64 << 20;
    options.index_bytes_limit = kIndexBytes;
    options.charge = [&](std::uint64_t bytes) { return charged += bytes, peak = std::max(peak, charged), true; };
    options.give_back = [&](std::uint64_t bytes) { charged -= bytes; };
  });
  put_small(tier, 0, 20'000);
  EXPECT_LE(tier->stats().index_bytes, kIndexBytes);
  EXPECT_LE(peak, kIndexBytes + (kIndexBytes >> 4)) << "index, and records of the open segment";
  EXPECT_EQ(tier->stats().index_full, 0u);
  EXPECT_GT(tier->stats().entries, 1000u);
  EXPECT_TRUE(tier.has(19'999));
  EXPECT_FALSE(tier.has(0));
  tier.restart();
  EXPECT_TRUE(tier.has(19'999));
  EXPECT_LE(tier->stats().index_bytes, kIndexBytes);
  tier.stop();
  EXPECT_EQ(charged, 0u);
}

TEST(DiskLimits, ALowerLimitTakesEffectAndClearingGivesTheMemoryBack) {
  std::uint64_t charged = 0;
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), [&](DiskTierOptions& options) {
    options.capacity_bytes = 64 << 20;
    options.charge = [&](std::uint64_t bytes) { return charged += bytes, true; };
    options.give_back = [&](std::uint64_t bytes) { charged -= bytes; };
  });
  put_small(tier, 0, 20'000);
  EXPECT_GT(tier->stats().index_bytes, 2 * kIndexBytes);
  tier->limit_index(kIndexBytes);
  EXPECT_TRUE(eventually([&] { return tier->stats().index_bytes <= kIndexBytes; })) << tier->stats().index_bytes;
  EXPECT_TRUE(tier.has(19'999)) << "the newest stay";
  put_small(tier, 30'000, 32'000);
  EXPECT_LE(tier->stats().index_bytes, kIndexBytes);
  tier->clear(std::nullopt);
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(eventually([&] { return tier->stats().index_bytes == 0; })) << tier->stats().index_bytes;
  put_small(tier, 40'000, 40'100);
  EXPECT_TRUE(tier.has(40'050));
  tier.stop();
  EXPECT_EQ(charged, 0u);
}

// A small memory setting of one run costs no files.
TEST(DiskLimits, RecoveryIntoASmallIndexKeepsTheNewestAndTheFiles) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 64 << 20; });
  put_small(tier, 0, 20'000);
  tier.options().index_bytes_limit = kIndexBytes;
  tier.restart();
  EXPECT_LE(tier->stats().index_bytes, kIndexBytes);
  EXPECT_GT(tier->stats().unlisted_records, 10'000u);
  EXPECT_TRUE(tier.has(19'999));
  EXPECT_FALSE(tier.has(0));
  EXPECT_FALSE(tier->remove(key_of(1)));
  ASSERT_TRUE(tier.flush());
  tier.options().index_bytes_limit = UINT64_MAX;
  tier.restart();
  EXPECT_TRUE(tier.has(0)) << "it had no entry in between";
  EXPECT_FALSE(tier.has(1)) << "removed while it had no entry";
  EXPECT_TRUE(tier.has(19'999));
  EXPECT_EQ(tier->stats().unlisted_records, 0u);
}

TEST(DiskLimits, RecordsOfTheOpenSegmentAreChargedOrTheSegmentEnds) {
  constexpr std::uint64_t kRecordBytes = sizeof(Located) + kSummaryEntryBytes;
  std::uint64_t charged = 0;
  bool generous = true;
  const auto change = [&](DiskTierOptions& options) {
    options.capacity_bytes = std::uint64_t{1} << 30;
    options.segment_bytes = 128 << 20;
    options.charge = [&](std::uint64_t bytes) { return generous || charged + bytes < 1'800'000 ? (charged += bytes, true) : false; };
    options.give_back = [&](std::uint64_t bytes) { charged -= bytes; };
  };
  {
    testing::TestTier tier(std::make_shared<testing::FaultFiles>(), change);
    put_small(tier, 0, 20'000);
    EXPECT_EQ(tier->stats().segments, 1u);
    EXPECT_GE(charged - tier->stats().index_bytes, (20'000 - 2048) * kRecordBytes);
  }
  EXPECT_EQ(charged, 0u);
  generous = false;
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), change);
  put_small(tier, 0, 12'000);
  EXPECT_GE(tier->stats().segments, 3u) << "shorter ones instead";
  EXPECT_EQ(tier->stats().entries, 12'000u);
}

// The last close of a file that was removed frees all of its pages: tens of milliseconds for 64
// MiB, in which nobody else may wait.
TEST(DiskLimits, ASegmentThatGoesHoldsUpNobody) {
  auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  for (std::uint64_t i = 0; i < 40; ++i) ASSERT_TRUE(tier.put(i, 40'000) && tier.flush());
  files->set_close_delay(std::chrono::milliseconds(300));
  std::atomic<bool> done{false};
  int answered_meanwhile = 0;   // while one and the same close went on
  std::thread asking([&] {
    while (!done) {
      const std::uint64_t ended = files->delayed_closes_ended();
      const bool closing = files->delayed_closes_begun() > ended;
      static_cast<void>(tier->contains(key_of(7)));
      static_cast<void>(tier->stats());
      if (closing && files->delayed_closes_ended() == ended) ++answered_meanwhile;
    }
  });
  const std::uint64_t before = tier->stats().evictions;
  for (std::uint64_t i = 40; i < 70; ++i) ASSERT_TRUE(tier.put(i, 40'000) && tier.flush());
  done = true;
  asking.join();
  EXPECT_GT(tier->stats().evictions, before);
  EXPECT_GT(answered_meanwhile, 0);
}

TEST(DiskLimits, OwnersBeyond65536AreStored) {
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), [](DiskTierOptions& options) { options.capacity_bytes = 256 << 20; });
  constexpr std::uint64_t kOwners = 70'000;
  for (std::uint64_t i = 0; i < kOwners; ++i) {
    ASSERT_TRUE(tier.put(i, 10, [&](DiskTier::Value& value) { value.owner = i + 1; }));
    if (i % 1000 == 0) {
      ASSERT_TRUE(tier.flush()) << i;
    }
  }
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->stats().entries, kOwners);
  EXPECT_EQ(tier->clear(kOwners), 1u);
  tier->clear(std::nullopt);
  ASSERT_TRUE(tier.put(1, 10, [&](DiskTier::Value& value) { value.owner = kOwners + 1; }));
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(tier.has(1));
}

TEST(DiskLimits, MoreSegmentsThanDescriptorsWork) {
  const auto files = std::make_shared<testing::FaultFiles>();
  files->set_descriptors(10, 6);
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.segment_bytes = 64 << 10; });
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < 150; ++i) {
      tier->remove(key_of(i));
      ASSERT_TRUE(tier.put(i, 30'000));
    }
    ASSERT_TRUE(tier.flush());
    EXPECT_GT(tier->stats().segments, 50u);
    EXPECT_LE(files->open_files(), 8u) << "segments, and the log";
    EXPECT_LE(tier->stats().open_files, 6u);
    for (std::uint64_t i = 0; i < 150; ++i) ASSERT_TRUE(tier.has(i)) << i;
    EXPECT_FALSE(tier->stats().degraded);
    tier.restart();
    for (std::uint64_t i = 0; i < 150; ++i) ASSERT_TRUE(tier.has(i)) << i << ", recovered";
  }
  EXPECT_EQ(tier->stats().damaged_segments + tier->stats().read_errors, 0u);
}

// Others of the process hold all descriptors: a miss, and nothing is lost for it.
TEST(DiskLimits, NoDescriptorsAtAllCostNoValues) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.segment_bytes = 64 << 10; });
  for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  tier.stop();
  files->set_descriptors(0, 6);
  {
    DiskTier starved(tier.options());
    ASSERT_TRUE(starved.wait_ready(std::chrono::seconds(20)));
    EXPECT_TRUE(starved.stats().degraded);
    EXPECT_EQ(starved.stats().entries, 0u);
    files->set_descriptors(100, 6);
    EXPECT_TRUE(eventually([&] { return starved.stats().entries == 30; }));
  }
  tier.start();
  files->set_descriptors(0, 6);
  files->set_descriptors(100, 6);
  for (std::uint64_t i = 0; i < 30; ++i) EXPECT_TRUE(tier.has(i)) << i;
}

TEST(DiskLimits, OtherFilesOfTheDirectoryCount) {
  const std::string directory = ::testing::TempDir() + "disk-limits-" + std::to_string(::getpid());
  std::filesystem::remove_all(directory);
  testing::TestTier tier(file::real_file_system(), [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; }, directory);
  for (std::uint64_t i = 0; i < 60; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  const std::uint64_t before = tier->stats().used_bytes;
  tier->account_sidecar("tags", 1 << 20);
  EXPECT_TRUE(eventually([&] { return tier->stats().used_bytes <= 2u << 20; }));
  EXPECT_LT(tier->stats().used_bytes - (1 << 20), before) << "the oldest segments gave way";
  EXPECT_EQ(tier->stats().sidecar_bytes, 1u << 20);
  std::ofstream(directory + "/tags") << std::string(500'000, 't');
  EXPECT_TRUE(eventually([&] { return tier->stats().sidecar_bytes == 500'000; })) << "it is measured now and then";
  for (std::uint64_t i = 100; i < 300; ++i) ASSERT_TRUE(tier.put(i, 20'000)), static_cast<void>(i % 20 == 0 && tier.flush());
  ASSERT_TRUE(tier.flush());
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) bytes += entry.file_size();
  EXPECT_LE(bytes, 2u << 20);
  EXPECT_EQ(tier->stats().used_bytes, bytes);
  tier.stop();
  std::filesystem::remove_all(directory);
}

TEST(DiskLimits, NamesBeyondTheirNumberAreDroppedAndCounted) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  const std::string name(3 * kMaxNameBytes, 'n');
  for (std::uint64_t i = 0; i < kMaxNames + 10; ++i) tier->name_owner(i, name);
  EXPECT_EQ(tier->stats().dropped_names, 10u);
  tier->name_owner(5, "a known one may get another name");
  tier->name_source(5, "and there is room for sources");
  EXPECT_EQ(tier->stats().dropped_names, 10u);
  tier.stop();
  EXPECT_LE(files->contents().at("cache/names").size(), tier.options().capacity_bytes / 64);
  const Names names = read_names(*files, "cache");
  EXPECT_EQ(names.owners.at(5), "a known one may get another name");
  EXPECT_EQ(names.owners.at(6), name.substr(0, kMaxNameBytes));
  tier.start();
}

TEST(DiskLimits, PurgesThatWaitForABrokenDiskDropTheLog) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  tier.stop();
  files->fail_call(testing::FaultFiles::kWrite | testing::FaultFiles::kRead, 1, EIO, true);
  tier.start();   // nothing can be read, so each removal counts
  std::vector<Key> keys;
  for (std::uint64_t i = 0; i < 150'000; ++i) keys.push_back(key_of(i));
  static_cast<void>(tier->purge(keys));
  EXPECT_EQ(tier->stats().collapsed_logs, 0u);
  for (Key& key : keys) key.bytes[0] ^= 1;
  static_cast<void>(tier->purge(keys));
  EXPECT_EQ(tier->stats().collapsed_logs, 1u);
  EXPECT_LE(tier->stats().queued_removals, 2u) << "one says it all";
  files->fail_nothing();
  ASSERT_TRUE(tier.healed());
  EXPECT_FALSE(tier.has(1));
}

// Whatever takes the room, a removal that cannot be logged waits for a while and is not tried in a
// circle.
TEST(DiskLimits, APurgeForWhichThereIsNoRoomWaits) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) {
    options.capacity_bytes = 1 << 20;
    options.retry_pause = std::chrono::seconds(60);
  });
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  int error = 0;
  const auto tags = files->open("cache/tags", file::Open::kCreate, &error);
  ASSERT_EQ(file::write_fully(*tags, 0, std::vector<std::byte>(2 << 20)), 0);
  files->set_write_delay(std::chrono::milliseconds(200));
  ASSERT_TRUE(tier.put(2, 1000));   // keeps the writing thread busy
  EXPECT_EQ(tier->purge(std::vector<Key>{key_of(1)}), 1u);
  tier->account_sidecar("tags", 2 << 20);
  EXPECT_TRUE(eventually([&] { return tier->stats().degraded; }));
  EXPECT_FALSE(tier.has(1));
  EXPECT_TRUE(tier->close(std::chrono::seconds(20)));
  tier.options().capacity_bytes = 8 << 20;
  tier.restart();
  EXPECT_FALSE(tier.has(1));
}

// Its files are opened again by their names, which are another cache's by now.
TEST(DiskLimits, ARemovalMarksNoRecordOfAnotherCachesFile) {
  const auto files = std::make_shared<testing::FaultFiles>();
  files->set_descriptors(100, 1);
  testing::TestTier first(files, [](DiskTierOptions& options) { options.retry_pause = std::chrono::seconds(60); });
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(first.put(i, 20'000));
  ASSERT_TRUE(first.flush());
  files->delete_directory();
  testing::TestTier second(files);
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(second.put(i, 20'000));
  ASSERT_TRUE(second.flush());
  const auto before = files->contents();
  for (std::uint64_t i = 0; i < 50; i += 5) first->remove(key_of(i));
  static_cast<void>(first.flush());
  EXPECT_EQ(files->contents(), before);
  for (std::uint64_t i = 0; i < 50; ++i) EXPECT_TRUE(second.has(i)) << i;
}

// The directory is deleted, and another cache makes it anew before this one has looked.
TEST(DiskLimits, ADirectoryThatAnotherCacheTookIsLeftAlone) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier first(files, [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(first.put(i, 20'000));
  ASSERT_TRUE(first.flush());
  files->delete_directory();
  auto second = std::make_unique<testing::TestTier>(files);
  for (std::uint64_t i = 100; i < 150; ++i) ASSERT_TRUE(second->put(i, 20'000));
  ASSERT_TRUE(second->flush());
  const auto before = files->contents();
  first->name_owner(1, "a name of the first one's");
  for (std::uint64_t i = 0; i < 200; ++i) static_cast<void>(first.put(1000 + i, 20'000)), static_cast<void>(i % 10 == 0 && first.flush());
  first->clear(std::nullopt);
  static_cast<void>(first.flush());
  EXPECT_TRUE(first->stats().degraded);
  EXPECT_EQ(first->stats().entries, 0u);
  EXPECT_TRUE(eventually([&] { return first->stats().reason.find("another process") != std::string::npos; })) << first->stats().reason;
  EXPECT_TRUE(first->close(std::chrono::seconds(20)));
  EXPECT_EQ(files->contents(), before);
  for (std::uint64_t i = 100; i < 150; ++i) EXPECT_TRUE(second->has(i)) << i;
  second.reset();
}

TEST(DiskLimits, ItComesBackWhenTheOtherCacheGoes) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier first(files);
  ASSERT_TRUE(first.put(1, 1000));
  ASSERT_TRUE(first.flush());
  files->delete_directory();
  {
    testing::TestTier second(files);
    ASSERT_TRUE(second.put(2, 1000));
    ASSERT_TRUE(second.flush());
    EXPECT_TRUE(eventually([&] { return first->stats().degraded; }));
  }
  EXPECT_TRUE(first.healed());
  EXPECT_FALSE(first.has(1));
  EXPECT_TRUE(first.has(2)) << "what the other one left is there";
}

}   // namespace
}   // namespace tensorcache::disk
