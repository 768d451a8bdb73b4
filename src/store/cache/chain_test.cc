// Values chained behind others: prefix blocks.
#include "testing/store/cache.h"
#include "tensorcache/cache.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

constexpr std::size_t kBlockBytes = 1000;

std::size_t stored(const Cache& cache, const std::vector<Key>& keys) {
  std::size_t count = 0;
  for (const Key& key : keys) count += cache.contains(key) ? 1 : 0;
  return count;
}

TEST(Chain, MatchesTheLongestLeadingRun) {
  Cache cache({});
  const auto keys = keys_of_chain(1, 6);
  put_chain(cache, {keys.begin(), keys.begin() + 4}, kBlockBytes);
  EXPECT_EQ(cache.peek(keys), 4u);
  const auto run = cache.match(keys);
  ASSERT_EQ(run.size(), 4u);
  for (std::size_t i = 0; i < run.size(); ++i) EXPECT_EQ(text_of(run.blocks()[i]), value_of(i, kBlockBytes)) << i;
  EXPECT_EQ(cache.stats().hits, 4u);
  EXPECT_EQ(cache.stats().misses, 2u);
  EXPECT_TRUE(cache.match({}).empty());
  EXPECT_EQ(cache.peek({}), 0u);
}

TEST(Chain, AGapEndsTheRun) {
  Cache cache({});
  const auto keys = keys_of_chain(1, 4);
  put_chain(cache, {keys.begin(), keys.begin() + 2}, kBlockBytes);
  ASSERT_EQ(cache.put(keys[3], "behind nothing"), PutStatus::kStored);
  EXPECT_EQ(cache.peek(keys), 2u);
  EXPECT_EQ(cache.match(keys).size(), 2u);
  EXPECT_TRUE(cache.match(std::vector{key_of(77), keys[0]}).empty());
}

// Only some of the keys are looked up, so every length must come out right.
TEST(Chain, MatchesRunsOfEveryLength) {
  Cache cache({});
  const auto keys = keys_of_chain(1, 70);
  for (std::size_t stored = 0; stored <= keys.size(); ++stored) {
    for (std::size_t asked = stored; asked <= keys.size(); ++asked) {
      ASSERT_EQ(cache.peek(std::span(keys).first(asked)), stored);
      ASSERT_EQ(cache.match(std::span(keys).first(asked)).blocks().size(), stored);
    }
    if (stored < keys.size()) {
      ASSERT_EQ(cache.put(keys[stored], value_of(stored, 10), block_options(keys, stored)), PutStatus::kStored);
    }
  }
}

// Keys that do not tell what came before them: the run is what really is behind one another.
TEST(Chain, IsNotDeceivedByAChainThatIsNone) {
  Cache cache({});
  const Key a = key_of(1), b = key_of(2), c = key_of(3), x = key_of(4);
  ASSERT_EQ(cache.put(a, "a"), PutStatus::kStored);
  ASSERT_EQ(cache.put(x, "x", {.parent = a}), PutStatus::kStored);
  EXPECT_EQ(cache.match(std::vector{a, b, x}).size(), 1u);
  EXPECT_EQ(cache.match(std::vector{a, b, c, x}).size(), 1u);
  EXPECT_EQ(cache.match(std::vector{b, x}).size(), 0u);
  EXPECT_EQ(cache.match(std::vector{a, x}).size(), 2u);
  EXPECT_EQ(cache.list(std::nullopt, 10).size(), 2u) << "and the policy was told without harm";
}

TEST(Chain, ARunKeepsItsBlocksWhateverHappensToThem) {
  std::optional<Cache> cache(CacheOptions{});
  const auto keys = keys_of_chain(1, 20);
  put_chain(*cache, keys, 200'000);
  const auto run = cache->match(keys);
  EXPECT_TRUE(cache->remove(keys[0]));
  EXPECT_EQ(cache->peek(keys), 0u);
  put_chain(*cache, keys_of_chain(2, 20), 200'000);
  cache.reset();
  ASSERT_EQ(run.size(), 20u);
  for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(text_of(run.blocks()[i]), value_of(i, 200'000));
}

TEST(Chain, NoBlockOutlivesTheOneBeforeIt) {
  FakeClock clock;
  Cache cache({.clock = clock.function()});
  const auto keys = keys_of_chain(1, 3);
  ASSERT_EQ(cache.put(keys[0], "x", {.time_to_live = milliseconds(100)}), PutStatus::kStored);
  clock.advance(milliseconds(60));
  ASSERT_EQ(cache.put(keys[1], "x", {.parent = keys[0]}), PutStatus::kStored);
  ASSERT_EQ(cache.put(keys[2], "x", {.parent = keys[1], .time_to_live = milliseconds(1000)}), PutStatus::kStored);
  clock.advance(milliseconds(39));
  EXPECT_EQ(cache.peek(keys), 3u);
  clock.advance(milliseconds(1));
  EXPECT_EQ(stored(cache, keys), 0u);
}

TEST(Chain, HintsSayWhatGoesFirst) {
  FakeClock clock;
  Cache cache({.capacity_bytes = 24 * charge_of(kBlockBytes) + (64 << 10), .clock = clock.function()});
  const auto kept = keys_of_chain(1, 5), low = keys_of_chain(2, 5);
  put_chain(cache, kept, kBlockBytes);
  put_chain(cache, low, kBlockBytes);
  cache.advise(kept, {.keep_for = milliseconds(1000)});
  cache.advise(low, {.priority = 10});
  ASSERT_EQ(cache.put(key_of(7), value_of(7, kBlockBytes), {.hints = {.priority = 90}}), PutStatus::kStored);
  std::uint64_t next = 900'000;
  const auto put_many = [&](int count) {
    for (int i = 0; i < count; ++i) ASSERT_EQ(cache.put(key_of(next++), value_of(1, kBlockBytes)), PutStatus::kStored);
  };
  for (int i = 0; stored(cache, low) == low.size(); ++i) put_many(1);
  EXPECT_EQ(cache.peek(low), low.size() - 1);
  put_many(500);
  EXPECT_EQ(stored(cache, low), 0u);
  EXPECT_EQ(cache.peek(kept), kept.size());
  EXPECT_TRUE(cache.contains(key_of(7)));
  clock.advance(milliseconds(1000));
  put_many(500);
  EXPECT_EQ(cache.peek(kept), 0u);
  EXPECT_TRUE(cache.contains(key_of(7)));
}

TEST(Chain, NeedsTheParent) {
  Cache cache({});
  EXPECT_EQ(cache.put(key_of(2), "child", {.parent = key_of(1)}), PutStatus::kParentMissing);
  EXPECT_EQ(cache.stats().rejected_puts, 1u);
  EXPECT_EQ(cache.stats().used_bytes, 0u);
  ASSERT_EQ(cache.put(key_of(1), "parent"), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), "child", {.parent = key_of(1)}), PutStatus::kStored);
  EXPECT_EQ(cache.put(key_of(2), "child", {.parent = key_of(9)}), PutStatus::kAlreadyStored);
  EXPECT_TRUE(cache.list(std::nullopt, 1)[0].chained);
}

TEST(Chain, ParentMayComeBetweenReserveAndCommit) {
  Cache cache({});
  Reservation child = cache.reserve(key_of(2), 1, {.parent = key_of(1)}), orphan = cache.reserve(key_of(4), 1, {.parent = key_of(3)});
  ASSERT_TRUE(child);
  ASSERT_EQ(cache.put(key_of(1), "parent"), PutStatus::kStored);
  EXPECT_EQ(cache.commit(std::move(child)), PutStatus::kStored);
  EXPECT_EQ(cache.commit(std::move(orphan)), PutStatus::kParentMissing);
}

TEST(Chain, ParentRemovedBetweenReserveAndCommit) {
  Cache cache({});
  ASSERT_EQ(cache.put(key_of(1), "parent"), PutStatus::kStored);
  Reservation child = cache.reserve(key_of(2), 1, {.parent = key_of(1)});
  EXPECT_TRUE(cache.remove(key_of(1)));
  EXPECT_EQ(cache.commit(std::move(child)), PutStatus::kParentMissing);
  EXPECT_EQ(cache.stats().used_bytes, 0u);
}

TEST(Chain, RemoveTakesDescendantsAlongAndNobodyElse) {
  Cache cache({});
  // 0 - 1 - 2 - 3
  //      \- 4 - 5     and 6 - 7 apart
  const int parents[] = {-1, 0, 1, 2, 1, 4, -1, 6};
  for (std::uint64_t i = 0; i < 8; ++i) {
    PutOptions options;
    if (parents[i] >= 0) options.parent = key_of(static_cast<std::uint64_t>(parents[i]));
    ASSERT_EQ(cache.put(key_of(i), "x", options), PutStatus::kStored);
  }
  const Handle pinned = cache.get(key_of(3));
  EXPECT_TRUE(cache.remove(key_of(1)));
  const bool expected[] = {true, false, false, false, false, false, true, true};
  for (std::uint64_t i = 0; i < 8; ++i) EXPECT_EQ(cache.contains(key_of(i)), expected[i]) << i;
  EXPECT_EQ(cache.stats().removals, 5u);
  EXPECT_EQ(pinned.text(), "x");
  EXPECT_TRUE(cache.remove(key_of(0)));
  EXPECT_EQ(entries(cache.stats()), 2u);
}

TEST(Chain, ClearOfAnOwnerTakesWhatOthersChainedBehindIt) {
  Cache cache({});
  ASSERT_EQ(cache.put(key_of(1), "x", {.owner = 1}), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), "x", {.owner = 2, .parent = key_of(1)}), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(3), "x", {.owner = 2}), PutStatus::kStored);
  EXPECT_EQ(cache.clear(1), 2u);
  EXPECT_EQ(cache.list(std::nullopt, 9).size(), 1u);
  EXPECT_EQ(cache.clear(2), 1u);
  EXPECT_EQ(cache.stats().used_bytes, 0u);
}

TEST(Chain, GoesFromItsEnd) {
  for (const char* policy : {"lru", "fifo"}) {
    SCOPED_TRACE(policy);
    Cache cache({.capacity_bytes = 22 * charge_of(kBlockBytes), .policy = policy});
    const auto keys = keys_of_chain(1, 16);
    put_chain(cache, keys, kBlockBytes);
    std::size_t left = keys.size();
    for (std::uint64_t i = 0; i < 30; ++i) {
      ASSERT_EQ(cache.put(key_of(i), value_of(i, kBlockBytes)), PutStatus::kStored);
      // However many are left, they are the first ones.
      const std::size_t now = cache.peek(keys);
      EXPECT_EQ(stored(cache, keys), now);
      EXPECT_LE(now, left);
      left = now;
    }
    EXPECT_LT(left, 5u);
  }
}

TEST(Chain, LruKeepsTheSharedPrefixOfTwoChains) {
  // 4 shared blocks and twice 12 of their own; the first chain is used after the second.
  Cache cache({.capacity_bytes = 32 * charge_of(kBlockBytes)});
  const auto one = keys_of_chain(1, 16);
  auto two = keys_of_chain(2, 16);
  std::copy(one.begin(), one.begin() + 4, two.begin());
  put_chain(cache, one, kBlockBytes);
  for (std::size_t i = 4; i < 16; ++i) {
    ASSERT_EQ(cache.put(two[i], value_of(i, kBlockBytes), block_options(two, i)), PutStatus::kStored);
  }
  EXPECT_EQ(cache.match(two).size(), 16u);
  EXPECT_EQ(cache.match(one).size(), 16u);
  for (std::uint64_t i = 0; i < 12; ++i) {
    ASSERT_EQ(cache.put(key_of(i), value_of(i, kBlockBytes)), PutStatus::kStored);
    EXPECT_EQ(cache.peek(one), 16u);
    EXPECT_GE(cache.peek(two), 4u);
  }
  EXPECT_LT(cache.peek(two), 10u);
}

TEST(Chain, WhatIsSaidToBeOverGoesFirstAndWhatIsSharedStays) {
  Cache cache({.capacity_bytes = 24 * charge_of(kBlockBytes) + (64 << 10)});
  auto shared = keys_of_chain(1, 3), over = shared, on = shared;
  for (const Key& key : keys_of_chain(2, 5)) over.push_back(key);
  for (const Key& key : keys_of_chain(3, 5)) on.push_back(key);
  put_chain(cache, on, kBlockBytes);
  for (std::size_t i = shared.size(); i < over.size(); ++i) {
    ASSERT_EQ(cache.put(over[i], value_of(i, kBlockBytes), block_options(over, i)), PutStatus::kStored);
  }
  static_cast<void>(cache.match(over));   // the newer of the two
  cache.demote(over);
  for (std::uint64_t i = 0; stored(cache, over) == over.size(); ++i) {
    ASSERT_EQ(cache.put(key_of(900'000 + i), value_of(i, kBlockBytes)), PutStatus::kStored);
  }
  EXPECT_EQ(cache.peek(over), over.size() - 1) << "the last block first";
  for (std::uint64_t i = 0; stored(cache, over) > shared.size(); ++i) {
    ASSERT_EQ(cache.put(key_of(800'000 + i), value_of(i, kBlockBytes)), PutStatus::kStored);
  }
  EXPECT_EQ(cache.peek(over), shared.size());
  EXPECT_GE(cache.peek(on), on.size() - 1)
      << "the older one, which goes on (malloc may have given the last value 16 bytes more than the one that went)";
  cache.demote({});
  cache.demote(keys_of_chain(7, 3));
}

// Chains that come back, each with a long one in front of it that does not: lru never finds one.
TEST(Chain, AdaptiveKeepsWhatComesBackFromWhatDoesNot) {
  constexpr std::size_t kBlock = 16'000;   // what the policy remembers, some 250 KiB, is in the budget
  Cache cache({.capacity_bytes = 60 * charge_of(kBlock) + (256 << 10), .policy = "adaptive"});
  std::size_t found = 0, not_taken_in = 0;
  const auto ask = [&](const std::vector<Key>& keys) {
    const auto run = cache.match(keys);
    for (std::size_t i = run.size(); i < keys.size(); ++i) {
      const PutStatus status = cache.put(keys[i], value_of(i, kBlock), block_options(keys, i));
      if (status == PutStatus::kStored) continue;
      EXPECT_EQ(status, PutStatus::kNoSpace);
      ++not_taken_in;
      break;
    }
    return run.size();
  };
  for (std::uint64_t turn = 0; turn < 2'000; ++turn) {
    ask(keys_of_chain(100 + turn, 40));
    const std::size_t run = ask(keys_of_chain(turn % 5, 10));
    if (turn >= 1'000) found += run;
  }
  EXPECT_GT(found, 8'000u) << "of 10,000";
  EXPECT_GT(not_taken_in, 0u);
}

TEST(Chain, PinOnTheLastBlockHoldsThePath) {
  const std::uint64_t capacity = 12 * charge_of(kBlockBytes);
  Cache cache({.capacity_bytes = capacity});
  const auto keys = keys_of_chain(1, 8);
  put_chain(cache, keys, kBlockBytes);
  const Handle last = cache.get(keys.back());
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(cache.put(key_of(i), value_of(i, kBlockBytes)), PutStatus::kStored);
  EXPECT_EQ(cache.peek(keys), 8u);
}

TEST(Chain, RoomForAChildIsNotMadeByEvictingItsParent) {
  const std::uint64_t capacity = 2 * charge_of(kBlockBytes);
  Cache cache({.capacity_bytes = capacity});
  ASSERT_EQ(cache.put(key_of(1), value_of(1, kBlockBytes)), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), value_of(2, kBlockBytes)), PutStatus::kStored);
  // 1 is the least recently used, and would go first.
  ASSERT_EQ(cache.put(key_of(3), value_of(3, kBlockBytes), {.parent = key_of(1)}), PutStatus::kStored);
  EXPECT_TRUE(cache.contains(key_of(1)));
  EXPECT_FALSE(cache.contains(key_of(2)));
  EXPECT_EQ(cache.put(key_of(4), value_of(4, kBlockBytes), {.parent = key_of(3)}), PutStatus::kNoSpace);
  EXPECT_TRUE(cache.contains(key_of(3)));
}

TEST(Chain, DescendantsOfAnExpiredBlockAreNotServedEither) {
  FakeClock clock;
  Cache cache({.clock = clock.function()});
  const auto keys = keys_of_chain(1, 4);
  for (std::size_t i = 0; i < 4; ++i) {
    PutOptions options = block_options(keys, i);
    if (i == 1) options.time_to_live = milliseconds(10);
    ASSERT_EQ(cache.put(keys[i], "x", options), PutStatus::kStored);
  }
  clock.advance(milliseconds(10));
  EXPECT_EQ(cache.peek(keys), 1u);
  EXPECT_EQ(cache.put(key_of(9), "x", {.parent = keys[1]}), PutStatus::kParentMissing);
  EXPECT_EQ(cache.match(keys).size(), 1u);
  EXPECT_EQ(cache.stats().expirations, 1u) << "the one that was met";
  EXPECT_EQ(cache.list(std::nullopt, 10).size(), 1u);
  for (const Key& key : keys) EXPECT_EQ(static_cast<bool>(cache.get(key)), key == keys[0]);
  EXPECT_EQ(cache.stats().expirations, 3u);
  EXPECT_EQ(entries(cache.stats()), 1u);
  EXPECT_EQ(cache.put(keys[1], "again", {.parent = keys[0]}), PutStatus::kStored);
  EXPECT_EQ(cache.peek(keys), 2u);
}

// The block that expired was met and is gone; its child still holds its memory.
TEST(Chain, WhatIsLeftOfAnExpiredChainMakesWay) {
  FakeClock clock;
  Cache cache({.clock = clock.function()});
  const auto keys = keys_of_chain(1, 3);
  const auto put_all = [&](milliseconds time_to_live) {
    for (std::size_t i = 0; i < keys.size(); ++i) {
      PutOptions options = block_options(keys, i, i % 2);
      if (i == 0) options.time_to_live = time_to_live;
      ASSERT_EQ(cache.put(keys[i], "x", options), PutStatus::kStored) << i;
    }
  };
  const auto expire_head = [&] {
    clock.advance(milliseconds(10));
    ASSERT_FALSE(cache.get(keys[0]));
    ASSERT_EQ(entries(cache.stats()), 2u) << "the head alone is gone";
  };
  put_all(milliseconds(10));
  expire_head();
  put_all(milliseconds(10));   // each takes the place of the one left over
  EXPECT_EQ(cache.peek(keys), 3u);

  expire_head();
  EXPECT_EQ(cache.clear(1), 2u) << "the second block's owner; the third is chained behind it";
  put_all(milliseconds(0));
  EXPECT_EQ(cache.clear(0), 3u);
  EXPECT_EQ(cache.stats().used_bytes, 0u);

  put_all(milliseconds(10));
  expire_head();
  EXPECT_FALSE(cache.remove(keys[0]));
  EXPECT_TRUE(cache.remove(keys[1]));
  EXPECT_TRUE(cache.remove(keys[2]));
  EXPECT_EQ(cache.stats().used_bytes, 0u) << "the head's memory went with its last child";
}

// With a walk over the index, as remove() of a block with descendants makes one, this takes half a
// minute.
TEST(Chain, MeetingAnExpiredBlockDoesNotWalkTheIndex) {
  constexpr std::uint64_t kChains = 2000, kOthers = 200'000;
  FakeClock clock;
  Cache cache({.clock = clock.function()});
  for (std::uint64_t i = 0; i < kOthers; ++i) ASSERT_EQ(cache.put(key_of(i), "x"), PutStatus::kStored);
  std::vector<Key> heads;
  for (std::uint64_t i = 0; i < kChains; ++i) {
    heads.push_back(key_of(1'000'000 + 2 * i));
    ASSERT_EQ(cache.put(heads.back(), "head", {.time_to_live = milliseconds(10)}), PutStatus::kStored);
    ASSERT_EQ(cache.put(key_of(1'000'001 + 2 * i), "tail", {.parent = heads.back()}), PutStatus::kStored);
  }
  clock.advance(milliseconds(10));
  const auto start = std::chrono::steady_clock::now();
  for (const Key& head : heads) EXPECT_FALSE(cache.get(head));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_EQ(entries(cache.stats()), kOthers + kChains);
}

TEST(Chain, LongChainsAreFreedWithoutRecursion) {
  Cache cache({});
  const auto keys = keys_of_chain(1, 200'000);
  for (std::size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(cache.put(keys[i], "x", block_options(keys, i)), PutStatus::kStored);
  EXPECT_TRUE(cache.remove(keys[0]));
  EXPECT_EQ(cache.stats().used_bytes, 0u);
}

// A chain is put in from its first block on, so to an LRU its parents look oldest: a search that
// walks past them each time would take n * n steps, here some 10^10.
TEST(Chain, EvictionDoesNotSearch) {
  Cache cache({});
  const auto keys = keys_of_chain(1, 150'000);
  for (std::size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(cache.put(keys[i], "x", block_options(keys, i)), PutStatus::kStored);
  cache.resize(cache.stats().used_bytes / 10);
  const std::size_t left = cache.peek(keys);
  EXPECT_GT(left, 1000u);
  EXPECT_EQ(entries(cache.stats()), left);
}

}   // namespace
}   // namespace tensorcache::cache
