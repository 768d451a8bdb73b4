// What threads see of one key must have an order: every history of puts, gets and removals must be one that a single thread could have seen,
// each operation taking effect at one instant between its beginning and its end (linearizability; the search is Wing and Gong's).
#include <barrier>
#include <functional>
#include <random>
#include <set>
#include <thread>

#include "cache/testing.h"
#include "tensorcache/cache.h"

namespace tensorcache {
namespace {

using namespace tensorcache::testing;

struct Operation {
  enum class Kind : std::uint8_t { kPut, kGet, kRemove } kind = Kind::kGet;
  std::uint64_t version = 0;   // put, or got; 0: nothing was got
  bool done = false;           // a put that stored, a removal that removed
  std::uint64_t begin = 0, end = 0;
};

class History {
 public:
  // `evicts`: a value may go at any time by itself.
  History(std::vector<Operation> operations, bool evicts) : operations_(std::move(operations)), evicts_(evicts) {}
  [[nodiscard]] bool has_an_order() { return search(0, 0); }

 private:
  // What is left can follow when `done` are done and `version` is stored (0: nothing).
  bool search(std::uint64_t done, std::uint64_t version) {
    if (done == (std::uint64_t{1} << operations_.size()) - 1) return true;
    if (!seen_.insert({done, version}).second) return false;
    std::uint64_t first_end = ~std::uint64_t{0};
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      if ((done >> i & 1) == 0) first_end = std::min(first_end, operations_[i].end);
    }
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      const Operation& next = operations_[i];
      if ((done >> i & 1) != 0 || next.begin > first_end) continue;
      if (const auto after = effect(next, version); after && search(done | std::uint64_t{1} << i, *after)) return true;
    }
    return evicts_ && version != 0 && search(done, 0);
  }
  // What is stored afterwards; nothing if it cannot have come out like this.
  [[nodiscard]] static std::optional<std::uint64_t> effect(const Operation& operation, std::uint64_t version) {
    switch (operation.kind) {
      case Operation::Kind::kPut:
        if (operation.done != (version == 0)) return std::nullopt;
        return operation.done ? operation.version : version;
      case Operation::Kind::kGet:
        return operation.version == version ? std::optional(version) : std::nullopt;
      case Operation::Kind::kRemove:
        return operation.done == (version != 0) ? std::optional<std::uint64_t>(0) : std::nullopt;
    }
    return std::nullopt;
  }

  std::vector<Operation> operations_;
  bool evicts_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
};

constexpr unsigned kThreads = 4, kOperations = 7;

// One thread's part of a round, on one key.
std::vector<Operation> act(Cache& cache, const Key& key, std::mt19937_64& random, std::uint64_t first_version, std::atomic<std::uint64_t>& now) {
  std::vector<Operation> operations(kOperations);
  for (Operation& operation : operations) {
    const std::uint64_t choice = random() % 8;
    operation.kind = choice < 3 ? Operation::Kind::kPut : choice < 7 ? Operation::Kind::kGet : Operation::Kind::kRemove;
    operation.begin = ++now;
    if (random() % 3 == 0) std::this_thread::yield();   // or a thread is through before the next one has begun
    if (operation.kind == Operation::Kind::kPut) {
      operation.version = first_version++;
      operation.done = cache.put(key, std::to_string(operation.version)) == PutStatus::kStored;
    } else if (operation.kind == Operation::Kind::kRemove) {
      operation.done = cache.remove(key);
    } else if (const Handle hit = cache.get(key)) {
      operation.version = std::stoull(std::string(hit.text()));
    }
    operation.end = ++now;
  }
  return operations;
}

// Rounds in which all threads use one key; the number of histories without an order, and how often something was found.
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
    std::vector<Operation> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    for (const Operation& operation : all) {
      outcome.hits += operation.kind == Operation::Kind::kGet && operation.version != 0 ? 1 : 0;
      outcome.overlaps += operation.end - operation.begin > 1 ? 1 : 0;
    }
    outcome.disorders += History(all, evicts).has_an_order() ? 0 : 1;
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
  using Kind = Operation::Kind;
  const Operation put{Kind::kPut, 1, true, 1, 2}, late_get{Kind::kGet, 1, false, 5, 6}, removal{Kind::kRemove, 0, true, 3, 4};
  EXPECT_TRUE(History({put, {Kind::kGet, 1, false, 3, 4}}, false).has_an_order());
  EXPECT_FALSE(History({put, {Kind::kGet, 0, false, 3, 4}}, false).has_an_order()) << "a stored value was not found";
  EXPECT_TRUE(History({put, {Kind::kGet, 0, false, 3, 4}}, true).has_an_order()) << "it may have been evicted";
  EXPECT_FALSE(History({put, removal, late_get}, true).has_an_order()) << "a removed value came back";
  EXPECT_TRUE(History({put, {Kind::kRemove, 0, true, 3, 6}, late_get}, false).has_an_order()) << "they overlap";
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
}   // namespace tensorcache
