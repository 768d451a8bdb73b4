// What a lookup says of values that are on disk only: the same as if they were in memory, or that
// they cannot be read now.
#include <future>
#include <thread>
#include <utility>

#include "store/cache/tier_stack.h"
#include "store/disk/disk_tier.h"
#include "testing/store/counting_tier.h"
#include "testing/store/disk_cache.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

class DiskLookup : public DiskCache {
 protected:
  // In memory nothing, on disk `count` values of so many bytes.
  void start_with(std::uint64_t count, std::size_t bytes, std::uint64_t memory_bytes) {
    start(256 << 20, 256 << 20);
    for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(cache_->put(key_of(i), value_of(i, bytes)), PutStatus::kStored);
    ASSERT_TRUE(cache_->flush(20s));
    start(memory_bytes, 256 << 20);
  }
};

TEST_F(DiskLookup, NoWriteOfAnotherKeyMakesItAMiss) {
  start_with(60, 50'000, 1 << 20);
  files_->set_read_delay(1ms);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::uint64_t i = 0; !stop; ++i) {
      static_cast<void>(cache_->put(key_of(1000 + i % 20), "other", {.replaces = true}));
      std::this_thread::sleep_for(100us);
    }
  });
  std::vector<std::thread> readers;
  std::atomic<int> misses{0};
  for (std::uint64_t t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < 200; ++i) misses += !cache_->get(key_of((i * 7 + t * 13) % 60));
    });
  }
  for (auto& reader : readers) reader.join();
  stop = true;
  writer.join();
  EXPECT_EQ(misses, 0);
  EXPECT_GT(cache_->disk_stats().hits, 100u);
}

TEST_F(DiskLookup, AReplacedValueIsNeverAMissAndNeverTheOldOneAgain) {
  start_with(1, 1000, 8 << 20);
  files_->set_read_delay(1ms);
  std::atomic<std::uint64_t> newest{0};   // what put() has returned for
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::uint64_t version = 1; !stop; ++version) {
      while (cache_->put(key_of(0), value_of(version, 1000 + version), {.replaces = true}) != PutStatus::kStored) std::this_thread::yield();
      newest = version;
      if (version % 4 == 0) {   // so that it is on disk only
        static_cast<void>(cache_->flush(20s));
        cache_->resize(0);
        cache_->resize(8 << 20);
      }
    }
  });
  std::uint64_t evicted = 0;   // from disk, before the last look-up that found it
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t before = newest, evicted_before = cache_->disk_stats().evictions;
    const Lookup found = cache_->look_up(key_of(0));
    if (found.unavailable) continue;   // while the memory has no room at all
    if (!found.value) {                // resize(0) leaves the disk's index no memory for a moment: a miss must be an eviction there
      ASSERT_GT(cache_->disk_stats().evictions, evicted) << i;
      continue;
    }
    evicted = evicted_before;
    ASSERT_GE(found.value.bytes().size(), 1000 + before);
  }
  stop = true;
  writer.join();
}

TEST_F(DiskLookup, ARefusedReplacementTakesNothingFromDisk) {
  start();
  ASSERT_EQ(cache_->put(key_of(1), "parent"), PutStatus::kStored);
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_EQ(cache_->put(key_of(2 + i), "child", {.parent = key_of(1)}), PutStatus::kStored);
  ASSERT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->put(key_of(1), "another parent", {.replaces = true}), PutStatus::kAlreadyStored);
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->disk_stats().entries, 11u);
  restart();
  EXPECT_EQ(cache_->disk_stats().entries, 11u);
  EXPECT_EQ(cache_->put(key_of(1), "another parent", {.replaces = true}), PutStatus::kAlreadyStored) << "its children are on disk only";
  EXPECT_EQ(cache_->get(key_of(1)).text(), "parent");
  EXPECT_EQ(cache_->get(key_of(5)).text(), "child");
}

TEST_F(DiskLookup, AChainedValueBringsWhatItIsChainedBehind) {
  start();
  const auto keys = keys_of_chain(1, 100);
  put_chain(*cache_, keys, 3000);
  restart();
  EXPECT_EQ(text_of(cache_->get(keys.back()).bytes()), value_of(99, 3000));
  EXPECT_EQ(cache_->peek(keys, Tiers::kMemoryOnly), 100u);
  restart();
  EXPECT_EQ(cache_->put(key_of(7), "behind it", {.parent = keys[50]}), PutStatus::kStored);
}

TEST_F(DiskLookup, AChainIsLoadedWholeAlsoWhereMemoryIsShort) {
  start();
  const auto keys = keys_of_chain(1, 100);
  put_chain(*cache_, keys, 5000);
  ASSERT_TRUE(cache_->flush(20s));
  start(800'000);   // room for the chain and little more
  std::atomic<bool> stop{false};
  std::thread other([&] {   // wants the room too
    for (std::uint64_t i = 0; !stop; ++i) {
      static_cast<void>(cache_->put(key_of(5000 + i), value_of(i, 5000)));
      std::this_thread::sleep_for(200us);
    }
  });
  for (int round = 0; round < 5; ++round) {
    const Lookup last = cache_->look_up(keys.back());
    EXPECT_TRUE(last.value || last.unavailable) << "it is stored";
    for (std::uint64_t i = 0; i < 300; ++i) static_cast<void>(cache_->put(key_of(900'000 + 1000 * round + i), value_of(i, 5000)));
  }
  stop = true;
  other.join();
}

TEST_F(DiskLookup, WhereEverythingIsPinnedItIsUnavailableAndNoMiss) {
  start_with(40, 50'000, 1 << 20);
  std::vector<Handle> pinned;
  std::uint64_t i = 0;
  for (; i < 40; ++i) {
    Handle handle = cache_->get(key_of(i));
    if (!handle) break;
    pinned.push_back(std::move(handle));
  }
  ASSERT_LT(i, 40u);
  const Lookup full = cache_->look_up(key_of(i));
  EXPECT_FALSE(full.value);
  EXPECT_TRUE(full.unavailable);
  EXPECT_GE(cache_->disk_stats().unavailable_lookups, 2u);
  EXPECT_FALSE(cache_->look_up(key_of(1000)).unavailable) << "this one is a miss";
  pinned.clear();
  EXPECT_TRUE(cache_->look_up(key_of(i)).value);
}

TEST_F(DiskLookup, NothingIsAMissBeforeTheDirectoryIsRead) {
  start_with(10, 1000, 16 << 20);
  cache_.reset();
  files_->set_read_delay(20ms);
  CacheOptions options;
  options.disk = DiskOptions{.directory = "cache", .on_event = {}, .file_system = files_, .unix_ms = {}};
  cache_ = std::make_unique<Cache>(std::move(options));
  int early = 0;
  for (Lookup found; !found.value;) {
    found = cache_->look_up(key_of(3));
    ASSERT_TRUE(found.value || found.unavailable);
    early += found.unavailable;
  }
  EXPECT_GT(early, 0);
}

TEST_F(DiskLookup, AReadThatFailsIsNoMissYet) {
  start_with(2, 1000, 16 << 20);
  files_->fail_call(FaultFiles::kRead, 1, EIO, true);
  const Lookup failed = cache_->look_up(key_of(1));
  EXPECT_FALSE(failed.value);
  EXPECT_TRUE(failed.unavailable);
  files_->fail_nothing();
  EXPECT_EQ(cache_->look_up(key_of(0)).value.text(), value_of(0, 1000));
}

TEST_F(DiskLookup, ItsHeadIsReadAlone) {
  start_with(1, 5'000'000, 16 << 20);
  std::array<std::byte, 64> head{};
  const auto read = cache_->head(key_of(0), head);
  ASSERT_EQ(read, 64u);
  EXPECT_EQ(text_of(head), value_of(0, 5'000'000).substr(0, 64));
  EXPECT_LT(cache_->disk_stats().read_bytes, 10'000u);
  EXPECT_FALSE(cache_->contains(key_of(0), Tiers::kMemoryOnly));
  EXPECT_FALSE(cache_->head(key_of(5), head));
}

TEST_F(DiskLookup, TheLongestPatienceIsNoneTooLate) {
  start_with(1, 1000, 16 << 20);
  files_->set_read_delay(20ms);
  std::promise<void> there;
  ASSERT_TRUE(cache_->load({key_of(0)}, milliseconds::max(), [&] { there.set_value(); }));
  ASSERT_EQ(there.get_future().wait_for(20s), std::future_status::ready);
  EXPECT_TRUE(cache_->contains(key_of(0), Tiers::kMemoryOnly));
  EXPECT_EQ(cache_->disk_stats().late_loads, 0u);
}

// The clock is asked whenever a value that expires is looked at.
TEST_F(DiskLookup, StoringAChainLooksAtFewOfItsValuesWhileTheDiskTakesNothing) {
  std::atomic<std::uint64_t> looks{0};
  CacheOptions options;
  options.clock = [&] { return ++looks, clock_.function()(); };
  options.disk = DiskOptions{.directory = "cache", .on_event = {}, .file_system = files_, .unix_ms = {}};
  cache_ = std::make_unique<Cache>(std::move(options));
  files_->fail_call(FaultFiles::kWrite | FaultFiles::kOpen, 1, EIO, true);
  ASSERT_EQ(cache_->put(key_of(1), "x"), PutStatus::kStored);
  EXPECT_FALSE(cache_->flush(20s));
  ASSERT_TRUE(cache_->disk_stats().degraded);
  const auto keys = keys_of_chain(1, 4096);
  looks = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    PutOptions block = block_options(keys, i);
    block.time_to_live = 1h;
    ASSERT_EQ(cache_->put(keys[i], "x", block), PutStatus::kStored);
  }
  EXPECT_LT(looks, 50 * keys.size());
  EXPECT_GE(cache_->disk_stats().pending_bytes, keys.size());
  files_->fail_nothing();
  cache_.reset();   // before its clock
}

TEST_F(DiskLookup, WhatGetOrComputeReplacesDoesNotComeBack) {
  start();
  const std::string second = value_of(2, 1000);
  const auto compute = [&] {
    EXPECT_EQ(cache_->put(key_of(1), value_of(1, 1000)), PutStatus::kStored);   // by another thread, say
    EXPECT_TRUE(cache_->flush(20s));
    const auto bytes = std::as_bytes(std::span(second));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  EXPECT_EQ(cache_->get_or_compute(key_of(1), compute, {.replaces = true}).text(), second);
  restart();
  EXPECT_EQ(cache_->get(key_of(1)).text(), second);
}

TEST_F(DiskLookup, WhatIsComputedIsStoredBehindAParentOnDisk) {
  start();
  ASSERT_EQ(cache_->put(key_of(1), "parent"), PutStatus::kStored);
  restart();
  const auto compute = [] { return std::vector<std::byte>(7); };
  EXPECT_EQ(cache_->get_or_compute(key_of(2), compute, {.parent = key_of(1)}).bytes().size(), 7u);
  EXPECT_TRUE(cache_->contains(key_of(2)));
}

TEST_F(DiskLookup, AValueCommittedOverAnExpiredOneIsOnDiskToo) {
  start();
  ASSERT_EQ(cache_->put(key_of(1), "old", {.time_to_live = 20ms}), PutStatus::kStored);
  ASSERT_EQ(cache_->put(key_of(2), "lives", {.time_to_live = 1h}), PutStatus::kStored);
  restart();
  clock_.advance(30ms);
  for (const std::uint64_t number : {1u, 2u}) {
    Reservation draft = cache_->reserve(key_of(number), 3);
    ASSERT_TRUE(draft);
    std::memcpy(draft.bytes().data(), "new", 3);
    EXPECT_EQ(cache_->commit(std::move(draft)), PutStatus::kStored);
  }
  restart();
  EXPECT_EQ(cache_->get(key_of(1)).text(), "new");
  EXPECT_EQ(cache_->get(key_of(2)).text(), "lives") << "one that is stored stays";
}

TEST_F(DiskLookup, CallbacksMayUseTheCacheThatIsClosedAndMayThrow) {
  start_with(1, 1000, 16 << 20);
  files_->set_write_delay(50ms);
  ASSERT_EQ(cache_->put(key_of(5), "x"), PutStatus::kStored);
  bool found = false;
  cache_->when_flushed([&](bool) { found = static_cast<bool>(cache_->get(key_of(0))); });
  cache_->when_flushed([](bool) { throw std::runtime_error("the caller's own"); });
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_TRUE(found);
  EXPECT_FALSE(cache_->disk_stats().degraded);
  found = false;
  ASSERT_EQ(cache_->put(key_of(6), "x"), PutStatus::kStored);
  Cache& closing = *cache_;
  cache_->when_flushed([&](bool) { found = static_cast<bool>(closing.get(key_of(0))); });
  cache_->when_flushed([](bool) { throw std::runtime_error("the caller's own"); });
  cache_.reset();
  EXPECT_TRUE(found);
  Cache in_memory({});
  in_memory.when_flushed([](bool) { throw std::runtime_error("the caller's own"); });
  files_->set_write_delay(0ms);
  start();
  std::promise<void> called;
  ASSERT_TRUE(cache_->load({key_of(0)}, 10s, [&] {
    called.set_value();
    throw std::runtime_error("the caller's own");
  }));
  ASSERT_EQ(called.get_future().wait_for(20s), std::future_status::ready);
  EXPECT_TRUE(cache_->get(key_of(0)));
}

// By counts, not by time: a value that is only below is asked for once, read once and checked once,
// and what is found is what was read.
TEST(TierLookups, AHitBelowAsksTheTierOnceAndReadsOnce) {
  const auto memory = memory::MemoryTier::make(1 << 20, policy::make_policy("lru"), std::chrono::steady_clock::now);
  const auto now = [] { return std::int64_t{1'700'000'000'000}; };
  disk::DiskTierOptions options;
  options.directory = "cache";
  options.files = std::make_shared<FaultFiles>();
  options.unix_ms = now;
  auto tier = std::make_unique<CountingTier>(std::make_unique<disk::DiskTier>(options));
  ASSERT_TRUE(tier->wait_ready(20s));
  CountingTier::Calls& calls = tier->calls();
  LowerTiers lower;
  lower.push_back(std::move(tier));
  TierStack tiers(memory, std::move(lower), now);
  const std::string value = value_of(1, 1000);
  ASSERT_EQ(tiers.put(key_of(1), std::as_bytes(std::span(value)), {}), PutStatus::kStored);
  ASSERT_TRUE(tiers.flush(20s));
  ASSERT_EQ(memory->clear(std::nullopt), 1u);

  calls.presence = calls.peek = calls.chain_of = calls.read = calls.holds = 0;
  const std::uint64_t before = memory->read_sections();
  const Lookup found = tiers.look_up(key_of(1), Tiers::kAll, memory::MemoryTier::Count::kYes);
  ASSERT_TRUE(found.value);
  EXPECT_EQ(calls.presence, 1);
  EXPECT_EQ(calls.read, 1);
  EXPECT_EQ(calls.holds, 1) << "that nothing was removed or replaced while it was read";
  EXPECT_EQ(calls.peek + calls.chain_of, 0);
  EXPECT_LE(memory->read_sections() - before, 2u) << "the miss, and whether another thread was faster";

  calls.presence = calls.read = 0;
  EXPECT_TRUE(tiers.look_up(key_of(1), Tiers::kAll, memory::MemoryTier::Count::kYes).value);
  EXPECT_EQ(calls.presence + calls.read, 0) << "a hit in memory asks no tier";
  EXPECT_FALSE(tiers.look_up(key_of(2), Tiers::kAll, memory::MemoryTier::Count::kYes).value);
  EXPECT_EQ(calls.presence, 1);
  EXPECT_EQ(calls.read, 0) << "nor does a miss read";
}

}   // namespace
}   // namespace tensorcache::cache
