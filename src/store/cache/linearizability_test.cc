// What threads see of one key must have an order: every history of puts, gets and removals must be
// one that a single thread could have seen, each operation taking effect at one instant between its
// beginning and its end (testing/core/linearizability.h).
#include <barrier>
#include <functional>
#include <random>
#include <thread>

#include "testing/core/linearizability.h"
#include "testing/store/cache.h"
#include "tensorcache/cache.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

using Type = Operation::Type;

constexpr unsigned kThreads = 4, kOperations = 7;

// One thread's part of a round, on one key. A put is a swap of nothing for something.
std::vector<Operation> act(Cache& cache, const Key& key, std::mt19937_64& random, std::uint64_t first_value, std::atomic<std::uint64_t>& now) {
  std::vector<Operation> operations(kOperations);
  for (Operation& operation : operations) {
    const std::uint64_t choice = random() % 8;
    operation.type = choice < 3 ? Type::kSwap : choice < 7 ? Type::kRead : Type::kRemove;
    operation.begin = ++now;
    if (random() % 3 == 0) std::this_thread::yield();   // or a thread is through before the next one has begun
    if (operation.type == Type::kSwap) {
      operation.value = first_value++;
      operation.done = cache.put(key, std::to_string(operation.value)) == PutStatus::kStored;
    } else if (operation.type == Type::kRemove) {
      operation.done = cache.remove(key);
    } else if (const Handle hit = cache.get(key)) {
      operation.value = std::stoull(std::string(hit.text()));
    }
    operation.end = ++now;
  }
  return operations;
}

// Rounds in which all threads use one key; the number of histories without an order, and how often
// something was found.
struct Outcome {
  std::uint64_t disorders = 0, hits = 0, overlaps = 0;
};
Outcome run_rounds(Cache& cache, std::uint64_t rounds, bool evicts, const std::function<void(std::mt19937_64&)>& between) {
  Outcome outcome;
  std::atomic<std::uint64_t> now{0};
  std::vector<std::vector<Operation>> parts(kThreads);
  std::uint64_t round = 0;
  std::barrier start(kThreads);
  std::barrier end(kThreads, [&]() noexcept {
    for (const auto& part : parts) {
      for (const Operation& operation : part) {
        outcome.hits += operation.type == Type::kRead && operation.value != 0 ? 1 : 0;
        outcome.overlaps += operation.end - operation.begin > 1 ? 1 : 0;
      }
    }
    outcome.disorders += is_linearizable(parts, evicts) ? 0 : 1;
    ++round;
  });
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      while (round < rounds) {
        const Key key = key_of(round);
        start.arrive_and_wait();
        between(random);
        parts[t] = act(cache, key, random, 1 + t * 100, now);
        end.arrive_and_wait();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return outcome;
}

TEST(History, TheCheckerSeesWhatCannotBe) {
  const Operation put{.type = Type::kSwap, .value = 1, .begin = 1, .end = 2}, removal{.type = Type::kRemove, .begin = 3, .end = 4};
  const auto get = [](std::uint64_t value, std::uint64_t begin) { return Operation{.value = value, .begin = begin, .end = begin + 1}; };
  EXPECT_FALSE(is_linearizable({{put}, {get(0, 3)}})) << "a stored value was not found";
  EXPECT_TRUE(is_linearizable({{put}, {get(0, 3)}}, true)) << "it may have been evicted";
  EXPECT_FALSE(is_linearizable({{put}, {get(0, 3), get(1, 5)}}, true)) << "an evicted value came back";
  EXPECT_FALSE(is_linearizable({{put, removal}, {get(1, 5)}}, true)) << "a removed value came back";
}

TEST(History, EveryKeysHistoryHasAnOrder) {
  Cache cache({});
  const Outcome outcome = run_rounds(cache, 2000, false, [](std::mt19937_64&) {});
  EXPECT_EQ(outcome.disorders, 0u);
  EXPECT_GT(outcome.hits, 2000u);
  EXPECT_GT(outcome.overlaps, 500u) << "or nothing was tested";
}

TEST(History, AlsoWhileValuesAreEvicted) {
  Cache cache({.capacity_bytes = 40 * charge_of(100)});
  std::atomic<std::uint64_t> other{1'000'000};
  const Outcome outcome = run_rounds(cache, 2000, true, [&](std::mt19937_64& random) {
    for (std::uint64_t i = random() % 20; i > 0; --i) (void)cache.put(key_of(++other), value_of(1, 90));
  });
  EXPECT_EQ(outcome.disorders, 0u);
  EXPECT_GT(outcome.hits, 2000u);
  EXPECT_GT(cache.stats().evictions, 5'000u);
}

}   // namespace
}   // namespace tensorcache::cache
