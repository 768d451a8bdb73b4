// The simulator promises what the memory tier does: both run the same trace with each policy.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "store/memory/memory_tier.h"
#include "store/policy/policy.h"
#include "tools/simulate/replay.h"

namespace tensorcache::simulate {
namespace {

using memory::MemoryTier;

// All of one size. The tables and the policy's memory, which a simulation does not have, fit into
// what is left beside whole values.
constexpr std::size_t kValueBytes = 100 << 10;
constexpr std::uint64_t kValues = 60;
const std::uint64_t kCharge = memory::Layout(kValueBytes).charge(), kCapacity = kValues * kCharge + kCharge * 9 / 10;

// Requests for chains in a tree, of up to eight blocks, and some for single keys.
std::vector<std::vector<std::uint64_t>> make_trace(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<std::uint64_t>> requests;
  for (int i = 0; i < 4000; ++i) {
    std::vector<std::uint64_t> chain{1 + random() % 3};
    for (std::size_t depth = random() % 8; depth > 0; --depth) chain.push_back(chain.back() * 5 + 3 + random() % 3);
    requests.push_back(std::move(chain));
  }
  return requests;
}

// The hash that the simulator gives a block: by the order in which blocks come.
Key key_of(std::uint64_t number) {
  std::uint64_t x = number + 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  x ^= x >> 31;
  Key key;
  std::memcpy(key.bytes.data(), &x, sizeof x);
  std::memcpy(key.bytes.data() + 24, &x, sizeof x);
  return key;
}

// The misses of a real tier that is used as a server does: it matches, then stores what is missing,
// and holds the last block meanwhile.
std::uint64_t misses_of_tier(const std::vector<std::vector<std::uint64_t>>& requests, const std::string& policy) {
  const auto tier = MemoryTier::make(kCapacity, policy::make_policy(policy), std::chrono::steady_clock::now, MemoryTier::Admission::kSelective);
  std::unordered_map<std::uint64_t, std::uint64_t> numbers;
  for (const auto& request : requests) {
    std::vector<Key> chain;
    for (const std::uint64_t block : request) chain.push_back(key_of(numbers.emplace(block, numbers.size()).first->second));
    const PrefixMatch run = tier->match(chain, chain.size());
    Handle last;
    for (std::size_t i = run.size(); i < chain.size(); ++i) {
      PutOptions options{.kind = Kind::kPrefixBlock};
      if (i > 0) options.parent = chain[i - 1];
      Handle stored;
      const PutStatus status = tier->commit(tier->reserve(chain[i], kValueBytes, options), &stored);
      if (status != PutStatus::kStored && status != PutStatus::kAlreadyStored) break;
      last = std::move(stored);
    }
  }
  return tier->stats().misses;
}

std::uint64_t misses_of_simulator(const std::vector<std::vector<std::uint64_t>>& requests, const std::string& policy) {
  Recording recording;
  for (const auto& blocks : requests) recording.add(blocks, 0, 0, kCharge);
  recording.finish();
  return replay(recording, {policy, kCapacity, 0}, {}).misses;
}

// How far the two may be apart. Where nothing is said they are the same.
double tolerance(const std::string& policy) {
  if (policy == "lru" || policy == "guarded") return 0.005;    // lru's spans follow the tier's clock of uses
  if (policy == "adaptive" || policy == "auto") return 0.03;   // the simulator also tells it of the blocks behind one that is not admitted
  return 0;
}

class SimulatedPolicy : public ::testing::TestWithParam<std::string> {};

TEST_P(SimulatedPolicy, MissesAsOftenAsTheMemoryTier) {
  for (const std::uint32_t seed : {1u, 2u}) {
    const auto trace = make_trace(seed);
    const auto of_tier = static_cast<double>(misses_of_tier(trace, GetParam()));
    const auto simulated = static_cast<double>(misses_of_simulator(trace, GetParam()));
    EXPECT_LE(std::abs(simulated - of_tier), tolerance(GetParam()) * of_tier) << of_tier << " in the tier, simulated " << simulated;
  }
}

std::vector<std::string> policy_names() {
  std::vector<std::string> names;
  for (const policy::PolicyInfo& info : policy::policies()) names.emplace_back(info.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Each, SimulatedPolicy, ::testing::ValuesIn(policy_names()), [](const auto& tested) { return tested.param; });

}   // namespace
}   // namespace tensorcache::simulate
