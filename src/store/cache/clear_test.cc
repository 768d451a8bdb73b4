// Deleting a selection: by owner, source and age, with what is chained behind it, in memory and on
// disk, while others use the cache.
#include <algorithm>
#include <atomic>
#include <thread>

#include "testing/store/disk_cache.h"
#include "testing/core/eventually.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

class Clear : public DiskCache {
 protected:
  // Number: 100 * owner + 10 * source + age in seconds.
  void put_all() {
    for (std::uint64_t age = 5; age-- > 0;) {
      for (std::uint64_t owner = 1; owner < 3; ++owner) {
        for (std::uint32_t source = 1; source < 3; ++source) {
          const std::uint64_t number = 100 * owner + 10 * source + age;
          ASSERT_EQ(cache_->put(key_of(number), value_of(number, 2000), {.owner = owner, .source = source}), PutStatus::kStored);
        }
      }
      if (age > 0) pass(1s);
    }
  }
  void pass(milliseconds time) {
    clock_.advance(time);
    wall_ms_ += time.count();
  }
  template <class Gone>
  void check(const Gone& gone) {
    for (std::uint64_t age = 0; age < 5; ++age) {
      for (std::uint64_t owner = 1; owner < 3; ++owner) {
        for (std::uint32_t source = 1; source < 3; ++source) {
          ASSERT_EQ(holds(100 * owner + 10 * source + age, 2000), !gone(owner, source, age)) << owner << ' ' << source << ' ' << age;
        }
      }
    }
  }
  void start_with(bool disk) {
    cache_.reset();
    CacheOptions options;
    options.capacity_bytes = 16 << 20;
    options.clock = clock_.function();
    if (disk) {
      options.disk = DiskOptions{.directory = "cache", .on_event = {}, .file_system = files_, .unix_ms = [this] { return wall_ms_.load(); }};
    }
    cache_ = std::make_unique<Cache>(std::move(options));
    ASSERT_TRUE(eventually([&] { return !disk || cache_->disk_stats().ready; }));
  }
  void check_selections(bool disk) {
    start_with(disk);
    put_all();
    ASSERT_EQ(cache_->put(key_of(900), value_of(900, 2000), {.owner = 3, .parent = key_of(124)}), PutStatus::kStored);
    ASSERT_TRUE(cache_->flush(20s));
    EXPECT_EQ(cache_->clear(Selection{.owner = 1, .source = 2, .older_than = 3s}), 3u) << "with what is chained behind one";
    EXPECT_FALSE(cache_->contains(key_of(900)));
    check([](std::uint64_t owner, std::uint32_t source, std::uint64_t age) { return owner == 1 && source == 2 && age >= 3; });
    EXPECT_EQ(cache_->clear(Selection{.older_than = 4s}), 3u);
    EXPECT_EQ(cache_->clear(Selection{.source = 1}), 8u);
    const auto gone = [](std::uint64_t owner, std::uint32_t source, std::uint64_t age) {
      return source == 1 || age >= 4 || (owner == 1 && age >= 3);
    };
    check(gone);
    if (disk) {
      ASSERT_TRUE(cache_->flush(20s));
      for (const auto& [path, bytes] : files_->contents()) {
        for (const std::uint64_t number : {110U, 111U, 214U, 124U, 123U, 900U}) {
          const std::string value = value_of(number, 100);
          const auto part = std::as_bytes(std::span(value));
          EXPECT_EQ(std::search(bytes.begin(), bytes.end(), part.begin(), part.end()), bytes.end()) << number << " in " << path;
        }
      }
      start_with(true);
      check(gone);
    }
    EXPECT_EQ(cache_->clear(Selection{.owner = 2}), 4u);
    EXPECT_EQ(cache_->clear(Selection{}), 3u);
    check([](std::uint64_t, std::uint32_t, std::uint64_t) { return true; });
  }
  std::atomic<std::int64_t> wall_ms_{1'700'000'000'000};
};

TEST_F(Clear, SelectsInMemory) { check_selections(false); }

TEST_F(Clear, SelectsOnDiskToo) { check_selections(true); }

// Chains of an owner's grow and are looked up while others, and they, are cleared: no block is left
// without the one before it, and nothing that was stored before a clear is found after it.
TEST_F(Clear, NoBlockOutlivesTheOneBeforeItWhileOthersChainMore) {
  for (const bool disk : {false, true}) {
    start_with(disk);
    constexpr std::size_t kChains = 40, kBlocks = 30;
    std::atomic<bool> stop{false};
    std::atomic<int> chained{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t round = 0; !stop; ++round) {
          const std::vector<Key> keys = keys_of_chain(round % kChains, kBlocks);
          for (std::size_t i = 0; i < kBlocks; ++i) {
            PutOptions options = block_options(keys, i, i == 0 ? 1 : 2);   // only the first is the owner's
            if (cache_->put(keys[i], value_of(i, 100), options) == PutStatus::kParentMissing) break;
          }
          if (t == 1) static_cast<void>(cache_->match(keys));
          ++chained;
        }
      });
    }
    for (int round = 0; round < 60; ++round) {
      const int before = chained;
      static_cast<void>(cache_->clear(Selection{.owner = 1}));
      ASSERT_TRUE(eventually([&] { return chained > before; }));
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    static_cast<void>(cache_->clear(Selection{.owner = 1}));
    for (std::size_t chain = 0; chain < kChains; ++chain) {
      for (const Key& key : keys_of_chain(chain, kBlocks)) ASSERT_FALSE(cache_->contains(key)) << disk << ", chain " << chain;
    }
    EXPECT_EQ(cache_->stats(2).kinds[static_cast<std::size_t>(Kind::kPrefixBlock)].entries, 0u);
    EXPECT_EQ(cache_->disk_stats().entries, 0u);
  }
}

}   // namespace
}   // namespace tensorcache::cache
