// A cache with a disk under its memory, as its users see it.
#include <filesystem>
#include <future>
#include <thread>

#include "testing/store/disk_cache.h"
#include "testing/core/eventually.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

TEST_F(DiskCache, IsThereAfterARestart) {
  start();
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_EQ(cache_->put(key_of(i), value_of(i, 1000 + i)), PutStatus::kStored);
  EXPECT_EQ(cache_->get_or_compute(key_of(100), [] { return std::vector<std::byte>(7, std::byte{1}); }).bytes().size(), 7u);
  restart();
  EXPECT_EQ(entries(cache_->stats()), 0u);
  for (std::uint64_t i = 0; i < 50; ++i) {
    EXPECT_TRUE(cache_->contains(key_of(i)));
    EXPECT_FALSE(cache_->contains(key_of(i), Tiers::kMemoryOnly));
    EXPECT_FALSE(cache_->get(key_of(i), Tiers::kMemoryOnly));
    EXPECT_TRUE(holds(i, 1000 + i));
    EXPECT_TRUE(cache_->get(key_of(i), Tiers::kMemoryOnly)) << "it is in memory from then on";
  }
  const Handle computed = cache_->get_or_compute(key_of(100), []() -> std::vector<std::byte> { throw std::runtime_error("computed again"); });
  EXPECT_EQ(computed.bytes().size(), 7u);
  EXPECT_EQ(cache_->disk_stats().hits, 51u);
}

TEST_F(DiskCache, WhatIsReplacedIsReplacedOnDiskToo) {
  start();
  ASSERT_EQ(cache_->put(key_of(1), value_of(1, 1000)), PutStatus::kStored);
  restart();
  EXPECT_EQ(cache_->put(key_of(1), value_of(2, 500)), PutStatus::kAlreadyStored);
  EXPECT_EQ(cache_->put(key_of(1), value_of(2, 500), {.replaces = true}), PutStatus::kStored);
  EXPECT_EQ(cache_->get(key_of(1)).text(), value_of(2, 500));
  restart();
  EXPECT_EQ(cache_->get(key_of(1)).text(), value_of(2, 500));
  EXPECT_EQ(cache_->put(key_of(1), value_of(3, 500), {.replaces = true}), PutStatus::kStored) << "in memory and on disk";
  restart();
  EXPECT_EQ(cache_->get(key_of(1)).text(), value_of(3, 500));
}

TEST_F(DiskCache, HoldsMoreThanTheMemory) {
  start(1 << 20);
  for (std::uint64_t i = 0; i < 200; ++i) {
    ASSERT_EQ(cache_->put(key_of(i), value_of(i, 20'000)), PutStatus::kStored);
    if (i % 4 == 0) {
      ASSERT_TRUE(cache_->flush(20s));
    }
  }
  for (std::uint64_t i = 0; i < 200; ++i) EXPECT_TRUE(holds(i, 20'000)) << i;
  EXPECT_LE(cache_->stats().peak_bytes, 1u << 20);
}

TEST_F(DiskCache, AChainComesBackWhole) {
  start();
  const auto keys = keys_of_chain(1, 40);
  put_chain(*cache_, keys, 5000, 3);
  restart();
  EXPECT_EQ(cache_->peek(keys), 40u);
  EXPECT_EQ(cache_->peek(keys, Tiers::kMemoryOnly), 0u);
  EXPECT_TRUE(cache_->match(keys, Tiers::kMemoryOnly).empty());
  const auto blocks = cache_->match(keys);
  ASSERT_EQ(blocks.size(), 40u);
  for (std::size_t i = 0; i < blocks.size(); ++i) EXPECT_EQ(text_of(blocks.blocks()[i]), value_of(i, 5000));
  EXPECT_EQ(entries(cache_->stats(3)), 40u);
  // And may be continued.
  EXPECT_EQ(cache_->put(key_of(5), "x", {.parent = keys.back()}), PutStatus::kStored);
}

TEST_F(DiskCache, LoadBringsAChainWithoutAnybodyWaiting) {
  start();
  const auto keys = keys_of_chain(1, 20);
  put_chain(*cache_, keys, 5000);
  EXPECT_FALSE(cache_->load(keys, 1s, [] { FAIL() << "it is all in memory"; }));
  restart();
  EXPECT_FALSE(cache_->load(keys_of_chain(2, 3), 1s, [] { FAIL() << "nothing of it is stored"; }));
  std::promise<void> there;
  ASSERT_TRUE(cache_->load(keys, 10s, [&] { there.set_value(); }));
  ASSERT_EQ(there.get_future().wait_for(20s), std::future_status::ready);
  EXPECT_EQ(cache_->match(keys, Tiers::kMemoryOnly).size(), 20u);
}

TEST_F(DiskCache, AllWhoWaitShareOneRead) {
  start();
  const auto keys = keys_of_chain(1, 20);
  put_chain(*cache_, keys, 5000);
  restart();
  files_->set_read_delay(100ms);
  files_->fail_call(FaultFiles::kRead, 0, 0);   // counts
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(cache_->load(keys, 10s, [&] { ++done; }));
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { done += cache_->match(keys).size() == 20; });
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return done == 8; }));
  EXPECT_EQ(files_->calls(), 1u);
}

TEST_F(DiskCache, NobodyWaitsForADyingDisk) {
  start();
  const auto keys = keys_of_chain(1, 8);
  put_chain(*cache_, keys, 50'000);
  restart();
  files_->hold_reads(true);
  std::promise<void> over;
  ASSERT_TRUE(cache_->load(keys, 50ms, [&] { over.set_value(); }));
  ASSERT_EQ(over.get_future().wait_for(60s), std::future_status::ready) << "the read has not ended";
  EXPECT_EQ(cache_->disk_stats().late_loads, 1u);
  files_->hold_reads(false);
  EXPECT_TRUE(eventually([&] { return cache_->peek(keys, Tiers::kMemoryOnly) == 8; })) << "it came in the end";
  // The tier has learned what this disk is worth, and tries again only now and then.
  const auto others = keys_of_chain(2, 8);
  files_->set_read_delay(0ms);
  put_chain(*cache_, others, 50'000);
  restart();
  files_->set_read_delay(400ms);
  EXPECT_EQ(cache_->match(keys).size(), 8u);   // it measures
  int begun = 0;
  for (int i = 0; i < 40; ++i) begun += cache_->load(others, 20ms, [] {});
  EXPECT_EQ(begun, 1);
  EXPECT_GE(cache_->disk_stats().skipped_loads, 39u);
}

TEST_F(DiskCache, WhatIsRemovedWhileItIsReadStaysRemoved) {
  start();
  ASSERT_EQ(cache_->put(key_of(1), value_of(1, 1000)), PutStatus::kStored);
  restart();
  files_->hold_reads(true);
  std::thread reader([&] { static_cast<void>(cache_->get(key_of(1))); });
  EXPECT_TRUE(eventually([&] { return files_->held_reads() == 1; }));
  EXPECT_TRUE(cache_->remove(key_of(1)));
  files_->hold_reads(false);
  reader.join();
  EXPECT_FALSE(cache_->get(key_of(1)));
  restart();
  EXPECT_FALSE(cache_->get(key_of(1)));
}

TEST_F(DiskCache, ClearGoesDownToo) {
  start();
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_EQ(cache_->put(key_of(i), value_of(i, 100), {.owner = i % 2}), PutStatus::kStored);
  ASSERT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->clear(1), 10u);
  restart();
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(holds(i, 100), i % 2 == 0);
  EXPECT_EQ(cache_->clear(), 10u);
  restart();
  EXPECT_EQ(cache_->disk_stats().entries, 0u);
}

TEST_F(DiskCache, TimesToLiveAndAgesGoOn) {
  start();
  ASSERT_EQ(cache_->put(key_of(1), value_of(1, 10), {.time_to_live = 300ms}), PutStatus::kStored);
  ASSERT_EQ(cache_->put(key_of(2), value_of(2, 10)), PutStatus::kStored);
  restart();
  clock_.advance(300ms);
  EXPECT_FALSE(cache_->get(key_of(1)));
  const Handle old = cache_->get(key_of(2));
  ASSERT_TRUE(old);
  EXPECT_EQ(old.age(), 300ms);
}

TEST_F(DiskCache, AParentThatTheDiskLostGoesDownWithItsChild) {
  start();
  const auto keys = keys_of_chain(1, 5);
  put_chain(*cache_, keys, 1000);
  ASSERT_TRUE(cache_->flush(20s));
  files_->delete_directory();
  ASSERT_TRUE(eventually([&] { return cache_->disk_stats().entries == 0; }));
  ASSERT_TRUE(eventually([&] { return !cache_->disk_stats().degraded; }));
  ASSERT_EQ(cache_->put(key_of(9), value_of(9, 10), {.parent = keys.back()}), PutStatus::kStored);
  restart();
  EXPECT_EQ(cache_->match(keys).size(), 5u);
  EXPECT_TRUE(holds(9, 10));
}

TEST_F(DiskCache, ADiskThatFailsIsAMissAndServesFromMemory) {
  start();
  ASSERT_EQ(cache_->put(key_of(1), value_of(1, 100)), PutStatus::kStored);
  ASSERT_TRUE(cache_->flush(20s));
  files_->fail_call(FaultFiles::kAny, 1, EIO, true);
  ASSERT_EQ(cache_->put(key_of(2), value_of(2, 100)), PutStatus::kStored);
  EXPECT_FALSE(cache_->flush(20s));
  EXPECT_TRUE(cache_->disk_stats().degraded);
  EXPECT_TRUE(holds(1, 100));
  EXPECT_TRUE(holds(2, 100));
  files_->fail_nothing();
}

TEST_F(DiskCache, TheIndexCountsInTheMemorysBudget) {
  start();
  const std::uint64_t before = cache_->stats().used_bytes;
  for (std::uint64_t i = 0; i < 5000; ++i) ASSERT_EQ(cache_->put(key_of(i), "x"), PutStatus::kStored);
  ASSERT_TRUE(cache_->flush(20s));
  const DiskStats disk = cache_->disk_stats();
  EXPECT_GT(disk.index_bytes, 5000u * 72);
  EXPECT_GE(cache_->stats().used_bytes, before + disk.index_bytes);
}

TEST_F(DiskCache, WrongOptionsAreNamed) {
  for (const DiskOptions& wrong : {DiskOptions{.directory = "", .on_event = {}, .file_system = files_, .unix_ms = {}},
                                   DiskOptions{.directory = "x", .capacity_bytes = 1000, .on_event = {}, .file_system = files_, .unix_ms = {}}}) {
    EXPECT_THROW(Cache({.disk = wrong}), std::invalid_argument);
  }
}

}   // namespace
}   // namespace tensorcache::cache
