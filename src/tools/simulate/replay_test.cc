#include "tools/simulate/replay.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "store/policy/policy.h"
#include "tools/trace/lines.h"
#include "tools/trace/mooncake.h"

namespace tensorcache::simulate {
namespace {

Recording of(const std::vector<std::vector<std::uint64_t>>& requests) {
  Recording recording;
  for (const auto& blocks : requests) recording.add(blocks, 512 * blocks.size());
  recording.finish();
  return recording;
}

std::uint64_t misses(const Recording& recording, const std::string& policy, std::uint64_t size) {
  return replay(recording, {policy, size, 0}, {}).misses;
}

TEST(Replay, CountsBlocksOutsideTheLeadingRun) {
  const Recording recording = of({{1, 2, 3}, {1, 2, 3}, {1, 2, 4}, {9}});
  const Outcome outcome = replay(recording, {"lru", 100, 0}, {});
  EXPECT_EQ(outcome.accesses, 10u);
  EXPECT_EQ(outcome.misses, 3u + 0u + 1u + 1u);
  EXPECT_EQ(outcome.requests, 4u);
  EXPECT_EQ(outcome.requests_hit, 2u);
  EXPECT_EQ(outcome.tokens - outcome.missed_tokens, 5u * 512);
}

TEST(Replay, APrefixLosesItsLastBlocksFirst) {
  for (const char* policy : {"lru", "fifo", "clock"}) {
    // When 9 comes there is room for three: 3 goes, not 1, although 1 is the oldest.
    EXPECT_EQ(misses(of({{1, 2, 3}, {9}, {1, 2, 3}}), policy, 3), 3u + 1u + 1u) << policy;
  }
}

TEST(Replay, WhatARequestUsesDoesNotGoForItsOwnEnd) {
  // Five blocks into room for three: the first three stay.
  EXPECT_EQ(misses(of({{1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}}), "lru", 3), 5u + 2u);
}

TEST(Replay, MinKnowsWhatComes) {
  // With room for one, only 1 is worth keeping.
  EXPECT_EQ(misses(of({{1}, {2}, {1}, {3}, {1}, {4}, {1}}), "min", 1), 4u);
  EXPECT_EQ(misses(of({{1}, {2}, {1}, {3}, {1}, {4}, {1}}), "lru", 1), 7u);
}

TEST(Replay, NoPolicyBeatsMin) {
  std::mt19937 random(11);
  std::vector<std::vector<std::uint64_t>> requests;
  for (int i = 0; i < 3'000; ++i) {
    // Chains of up to 8 blocks in a tree: a block's number says all that came before it.
    std::vector<std::uint64_t> chain{1};
    for (std::size_t depth = random() % 8; depth > 0; --depth) chain.push_back(chain.back() * 5 + random() % 4);
    requests.push_back(std::move(chain));
  }
  const Recording recording = of(requests);
  for (const std::uint64_t size : {10u, 100u, 1000u}) {
    const std::uint64_t least = misses(recording, "min", size);
    for (const policy::PolicyInfo& info : policy::policies())
      EXPECT_GE(misses(recording, std::string(info.name), size), least) << info.name << " " << size;
  }
  for (const policy::PolicyInfo& info : policy::policies())
    EXPECT_EQ(misses(recording, std::string(info.name), 1'000'000), recording.distinct()) << info.name;
}

TEST(Replay, HintsOfConversationsThatEndMakeRoom) {
  std::vector<std::vector<std::uint64_t>> requests;
  for (std::uint64_t i = 0; i < 200; ++i) {
    requests.push_back({1'000'000 + i, 2'000'000 + i});                       // asked once
    requests.push_back({i % 4 + 1, i % 4 + 11, i / 4 + 100 * (i % 4 + 1)});   // four that go on
  }
  const Recording recording = of(requests);
  const auto ends = last_of_conversation(recording);
  const std::uint64_t without = replay(recording, {"lru", 16, 0}, ends).misses;
  const std::uint64_t with = replay(recording, {"lru", 16, 1}, ends).misses;
  EXPECT_LT(with, without);
}

// Chains of 10 that come back in turns, far more than fit: LRU never finds one, adaptive keeps some
// whole.
TEST(Replay, AdaptiveKeepsSomeOfWhatComesBackInTurns) {
  std::vector<std::vector<std::uint64_t>> requests;
  for (std::uint64_t turn = 0; turn < 12'000; ++turn) {
    auto& chain = requests.emplace_back();
    for (std::uint64_t block = 0; block < 10; ++block) chain.push_back(1'000 * (turn % 40) + block);
  }
  const Recording recording = of(requests);
  EXPECT_EQ(misses(recording, "lru", 150), 120'000u);
  EXPECT_LT(misses(recording, "adaptive", 150), 90'000u) << "a third would fit";
}

// Chains that come back, each with a long one in front of it that does not.
TEST(Replay, AdaptiveDoesNotTakeInWhatIsNotWorthItsPlace) {
  std::vector<std::vector<std::uint64_t>> requests;
  for (std::uint64_t turn = 0; turn < 4'000; ++turn) {
    auto& once = requests.emplace_back();
    for (std::uint64_t block = 0; block < 40; ++block) once.push_back(1'000'000 + 100 * turn + block);
    auto& again = requests.emplace_back();
    for (std::uint64_t block = 0; block < 10; ++block) again.push_back(1'000 * (turn % 5) + block);
  }
  const Recording recording = of(requests);
  EXPECT_EQ(misses(recording, "lru", 60), 200'000u);
  EXPECT_LT(misses(recording, "adaptive", 60), 170'000u) << "160,050 at best";
}

// At 1, 5, 10, 20 and 50 % of the distinct keys: libCacheSim 0.3.5 (its Python package) on the same
// accesses, scripts/libcachesim_figures.py.
struct Figures {
  const char* policy;
  double miss_ratio[5];
  double tolerance = 0.001;
};

void expect_figures(const Recording& recording, std::span<const Figures> all) {
  constexpr double kShares[] = {0.01, 0.05, 0.1, 0.2, 0.5};
  for (const Figures& figures : all) {
    for (std::size_t i = 0; i < std::size(kShares); ++i) {
      const auto size = static_cast<std::uint64_t>(std::llround(kShares[i] * static_cast<double>(recording.distinct())));
      EXPECT_NEAR(replay(recording, {figures.policy, size, 0}, {}).miss_ratio(), figures.miss_ratio[i], figures.tolerance)
          << figures.policy << " at " << size;
    }
  }
}

// Every block of the bundled trace as a key of its own.
TEST(Replay, ClassicPoliciesMissAsLibCacheSimsDo) {
  Recording recording;
  trace::Lines lines(TENSORCACHE_TEST_DATA "/lmcache_agents.jsonl.gz");
  for (std::string line; lines.next(line);) {
    for (const std::uint64_t block : trace::parse_mooncake(line).blocks) recording.add(std::span(&block, 1), 0);
  }
  recording.finish();
  ASSERT_EQ(recording.blocks().size(), 61'828u);
  ASSERT_EQ(recording.distinct(), 6'243u);
  static constexpr Figures kLibCacheSim[] = {
      {"fifo", {0.76794, 0.32456, 0.10327, 0.10217, 0.1011}},   {"lru", {0.76268, 0.31932, 0.10183, 0.10165, 0.10097}},
      {"lfu", {0.98847, 0.88753, 0.85788, 0.69113, 0.33229}},   {"clock", {0.75346, 0.29525, 0.10253, 0.10165, 0.10097}},
      {"sieve", {0.89374, 0.51941, 0.30092, 0.33758, 0.10597}}, {"s3fifo", {0.63547, 0.2506, 0.12226, 0.10587, 0.1013}},
      {"arc", {0.67793, 0.28274, 0.10602, 0.10489, 0.10304}},
  };
  expect_figures(recording, kLibCacheSim);
}

// A power law with a scan of a tenth, the same as the script makes. On the trace above gdsf is a
// matter of ties, which libCacheSim breaks by dropping the newcomer; and there its wtinylfu has no
// window at the smallest size. Its sketch also differs from ours, so only its like is asked for.
TEST(Replay, PoliciesMissAsLibCacheSimsDoOnAPowerLaw) {
  constexpr double kKeys = 20'000;
  Recording recording;
  std::uint64_t state = 12345;
  for (std::uint64_t i = 0; i < 200'000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double uniform = static_cast<double>(state >> 11) / static_cast<double>(std::uint64_t{1} << 53);
    const std::uint64_t key = i / 2000 % 10 == 0 ? 1'000'000 + i : static_cast<std::uint64_t>(std::pow(kKeys, uniform)) - 1;
    recording.add(std::span(&key, 1), 0);
  }
  recording.finish();
  ASSERT_EQ(recording.distinct(), 36'640u);
  static constexpr Figures kLibCacheSim[] = {
      {"fifo", {0.62288, 0.45308, 0.38493, 0.31393, 0.22963}},
      {"lru", {0.58117, 0.42084, 0.35411, 0.28018, 0.20537}},
      {"lfu", {0.4939, 0.35357, 0.29638, 0.25, 0.19768}},
      {"clock", {0.5699, 0.41004, 0.34333, 0.27367, 0.19979}},
      {"sieve", {0.49194, 0.35357, 0.29638, 0.25, 0.19768}},
      {"s3fifo", {0.4885, 0.35369, 0.2948, 0.23749, 0.20013}},
      {"arc", {0.49321, 0.35309, 0.29207, 0.24158, 0.19722}},
      {"gdsf", {0.52855, 0.37855, 0.32036, 0.26406, 0.19869}},
      {"wtinylfu", {0.49299, 0.36281, 0.30208, 0.24294, 0.19867}, 0.01},
  };
  expect_figures(recording, kLibCacheSim);
}

}   // namespace
}   // namespace tensorcache::simulate
