// Many threads at once. What they check holds at every instant; the sanitizers see the rest.
#include <barrier>
#include <cstring>
#include <random>
#include <thread>

#include "testing/store/cache.h"
#include "tensorcache/cache.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

constexpr std::uint64_t kKeys = 200, kChain = 5;
constexpr std::uint64_t kCapacityBytes = 2 << 20;

// Small ones, and a few in buffers of their own.
std::size_t size_of(std::uint64_t id) { return id % 10 == 0 ? 130'000 + id * 1000 : id * 37; }

void expect_value(std::span<const std::byte> bytes, std::uint64_t id) {
  ASSERT_EQ(bytes.size(), size_of(id));
  // The first, the last and one between: comparing all would leave no time for races.
  for (const std::size_t i : {std::size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
    if (i < bytes.size()) {
      ASSERT_EQ(bytes[i], static_cast<std::byte>(id));
    }
  }
}

class Stress : public ::testing::TestWithParam<const char*> {
 protected:
  void one_step(std::mt19937_64& random) {
    const std::uint64_t id = random() % kKeys;
    switch (random() % 32) {
      case 0:
        (void)cache_.remove(keys_[id]);
        break;
      case 1:
        if (random() % 50 == 0) (void)cache_.clear(id % 2);
        break;
      case 2:
        if (random() % 20 == 0) (void)cache_.list(id % 2, 10);
        break;
      case 3: {
        const Stats stats = cache_.stats();
        ASSERT_LE(stats.peak_bytes, kCapacityBytes);
        break;
      }
      case 4: {
        const Reservation dropped = cache_.reserve(keys_[id], size_of(id));
        break;
      }
      case 5:
      case 6:
      case 7: {
        const std::size_t first = id / kChain * kChain;
        const auto run = cache_.match(std::span(keys_).subspan(first, kChain));
        const auto blocks = run.blocks();
        for (std::size_t i = 0; i < blocks.size(); ++i) expect_value(blocks[i], first + i);
        break;
      }
      case 8:
      case 9: {
        const Handle handle =
            cache_.get_or_compute(keys_[id], [&] { return std::vector<std::byte>(size_of(id), static_cast<std::byte>(id)); }, options_of(id));
        expect_value(handle.bytes(), id);
        break;
      }
      case 10:
      case 11:
      case 12:
      case 13:
      case 14:
      case 15:
      case 16:
      case 17:
        if (const Handle handle = cache_.get(keys_[id])) expect_value(handle.bytes(), id);
        break;
      default: {
        Reservation draft = cache_.reserve(keys_[id], size_of(id), options_of(id));
        if (!draft) break;
        std::fill(draft.bytes().begin(), draft.bytes().end(), static_cast<std::byte>(id));
        (void)cache_.commit(std::move(draft));
      }
    }
  }

  // Every kChain keys are a chain; some expire.
  PutOptions options_of(std::uint64_t id) const {
    PutOptions options{.owner = id % 2};
    if (id % kChain != 0) options.parent = keys_[id - 1];
    if (id % kChain == 1) options.time_to_live = milliseconds(2);
    return options;
  }

  void run(int threads, int steps) {
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) {
      running.emplace_back([this, t, steps] {
        std::mt19937_64 random(static_cast<std::uint64_t>(t) + 1);
        for (int i = 0; i < steps && !HasFatalFailure(); ++i) one_step(random);
      });
    }
    for (std::thread& thread : running) thread.join();
  }

  Cache cache_{{.capacity_bytes = kCapacityBytes, .policy = GetParam()}};
  std::vector<Key> keys_ = [] {
    std::vector<Key> keys;
    for (std::uint64_t i = 0; i < kKeys; ++i) keys.push_back(key_of(i));
    return keys;
  }();
};

TEST_P(Stress, ManyThreadsNeverPassTheBudgetNorSeeAWrongByte) {
  run(8, 15'000);
  const Stats stats = cache_.stats();
  EXPECT_LE(stats.peak_bytes, kCapacityBytes);
  EXPECT_GT(stats.peak_bytes, kCapacityBytes / 2);
  EXPECT_GT(stats.evictions, 100u);
  EXPECT_GT(stats.hits, 100u);
  EXPECT_GT(stats.expirations, 0u);
  // Nobody is left behind, in no state: all of it can still go.
  cache_.resize(0);
  EXPECT_EQ(entries(cache_.stats()), 0u);
  EXPECT_EQ(cache_.stats().used_bytes, 0u);
}

TEST_P(Stress, ResizingMeanwhile) {
  std::atomic<bool> done = false;
  std::thread resizer([&] {
    std::mt19937_64 random(99);
    while (!done) cache_.resize(random() % kCapacityBytes);
  });
  run(4, 3000);
  done = true;
  resizer.join();
  EXPECT_LE(cache_.stats().used_bytes, cache_.stats().capacity_bytes);
  EXPECT_LE(cache_.stats().peak_bytes, kCapacityBytes);
  cache_.clear();
  EXPECT_EQ(cache_.stats().used_bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Policies, Stress, ::testing::Values("lru", "fifo", "adaptive"), [](const auto& param) { return param.param; });

TEST(StressOfHandles, TheLastOneMayGoAfterTheCacheInAnyThread) {
  for (int round = 0; round < 50; ++round) {
    auto cache = std::make_unique<Cache>(CacheOptions{.capacity_bytes = 1 << 20});
    std::vector<std::vector<Handle>> held(4);
    for (std::uint64_t i = 0; i < 40; ++i) {
      ASSERT_EQ(cache->put(key_of(i), value_of(i, 1000)), PutStatus::kStored);
      held[i % 4].push_back(cache->get(key_of(i)));
    }
    std::vector<std::thread> threads;
    for (auto& handles : held) threads.emplace_back([&handles] { handles.clear(); });
    cache.reset();
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(StressOfEviction, NobodyIsRefusedWhileAnotherThreadIsEvicting) {
  // One chain fills it, so that only ever one entry may go, its last block; large ones, so that
  // freeing them takes a while.
  constexpr std::uint64_t kCapacity = 33 << 20;
  constexpr std::size_t kBlock = 4 << 20;
  std::atomic<int> refused{0};
  for (std::uint64_t round = 0; round < 60; ++round) {
    Cache cache({.capacity_bytes = kCapacity});
    put_chain(cache, keys_of_chain(1, 7), kBlock);
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        for (std::uint64_t i = 0; i < 2; ++i) {
          const Reservation draft = cache.reserve(key_of(100 * t + i), kBlock);
          refused += draft ? 0 : 1;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_LE(cache.stats().peak_bytes, kCapacity);
  }
  EXPECT_EQ(refused, 0);
}

// A run whose values stand apart from the policy's order, for their hints, ends all the same. Else
// a value that is used twice right after it was remembered twice, and forgetting one of the two
// left the policy with what the other one's memory had become.
TEST(StressOfHints, WhatIsUsedAfterARunWithHintsIsRememberedOnce) {
  for (const char* policy : {"adaptive", "auto"}) {
    Cache cache({.capacity_bytes = 256 << 10, .policy = policy});
    constexpr PutOptions kBlock{.kind = Kind::kPrefixBlock};
    const std::string value(500, 'x');
    std::uint64_t next = 1000;
    const auto flow = [&](int count, const std::vector<Key>& used_again) {
      for (int i = 0; i < count; ++i) {
        (void)cache.put(key_of(next++), value, kBlock);
        if (i % 2 == 1) (void)cache.get(key_of(next - 1 - static_cast<std::uint64_t>(i) % 60));
        for (const Key& key : i % 500 == 0 ? used_again : std::vector<Key>()) {
          (void)cache.get(key);
          (void)cache.put(key_of(next++), value, kBlock);
        }
      }
    };
    const std::vector<Key> chain{key_of(1), key_of(2)};
    ASSERT_EQ(cache.put(chain[0], value, kBlock), PutStatus::kStored);
    ASSERT_EQ(cache.put(chain[1], value, {.kind = Kind::kPrefixBlock, .parent = chain[0]}), PutStatus::kStored);
    cache.advise(chain, {.priority = 80});
    for (int round = 0; round < 3; ++round) {
      std::vector<Handle> held;
      std::vector<Key> keys;
      for (int i = 0; i < 60; ++i) {
        keys.push_back(key_of(next++));
        held.push_back(cache.get_or_compute(keys.back(), [] { return std::vector<std::byte>(500); }, kBlock));
      }
      flow(9000, {});   // they are pinned, and forgotten by the history
      for (const Key& key : keys) {
        EXPECT_EQ(cache.match(chain).size(), 2u);
        for (int k = 0; k < 2; ++k) EXPECT_TRUE(cache.get(key));
        (void)cache.put(key_of(next++), value, kBlock);
      }
      flow(30'000, keys);
    }
    EXPECT_LE(cache.stats().used_bytes, cache.stats().capacity_bytes);
  }
}

// Several threads find at once that one shard's table is full, and others empty it meanwhile: every
// table is charged and given back once.
TEST(TableGrowth, KeepsAccount) {
  std::vector<Key> keys;   // of one shard
  for (std::uint64_t i = 0; keys.size() < 40; ++i) {
    if (const Key key = key_of(i); key.bytes[31] % 16 == 3) keys.push_back(key);
  }
  for (int round = 0; round < 200; ++round) {
    Cache cache({});
    std::barrier start(3);
    std::atomic<int> running{2};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        start.arrive_and_wait();
        for (int i = 0; i < 200; ++i) (void)cache.put(keys[static_cast<std::size_t>(i) % keys.size()], "abc");
        --running;
      });
    }
    threads.emplace_back([&] {
      start.arrive_and_wait();
      while (running > 0) {
        if (round % 2 == 0) cache.clear();
      }
    });
    for (std::thread& thread : threads) thread.join();
    cache.clear();
    ASSERT_EQ(cache.stats().used_bytes, 0u) << "in round " << round;
  }
}

// Nobody finds neither the old value nor the new one, and no reader goes back to an older one.
TEST(Stress, WhatIsReplacedIsNeverMissing) {
  Cache cache({.capacity_bytes = 8 << 20});
  const auto number = [](std::uint64_t value) { return std::string_view(reinterpret_cast<const char*>(&value), sizeof value); };
  constexpr std::uint64_t kRounds = 20'000;
  std::uint64_t round = 0;
  ASSERT_EQ(cache.put(key_of(1), number(round)), PutStatus::kStored);
  std::atomic<bool> ended{false};
  std::atomic<std::uint64_t> wrong{0}, reads{0};
  std::thread reader([&] {
    for (std::uint64_t last = 0; !ended; ++reads) {
      const Handle found = cache.get(key_of(1));
      std::uint64_t value = 0;
      if (found.bytes().size() == sizeof value) std::memcpy(&value, found.bytes().data(), sizeof value);
      if (!found || value < last) ++wrong;
      last = value;
    }
  });
  while (reads == 0) std::this_thread::yield();
  while (++round <= kRounds) ASSERT_EQ(cache.put(key_of(1), number(round), {.replaces = true}), PutStatus::kStored);
  ended = true;
  reader.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(cache.stats().kinds[0].entries, 1u);
}

}   // namespace
}   // namespace tensorcache::cache
