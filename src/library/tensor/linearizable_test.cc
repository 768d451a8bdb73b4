// Every key's reads and writes are linearizable: threads work on few keys, and what each call saw
// is checked afterwards.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "testing/core/linearizability.h"
#include "testing/store/cache.h"
#include "testing/store/fault_files.h"
#include "tensorcache/tensor_cache.h"

namespace tensorcache {
namespace {

using testing::is_linearizable;
using testing::Operation;
using Type = Operation::Type;
using Histories = std::vector<std::vector<std::vector<Operation>>>;   // by key, then by thread

constexpr std::size_t kKeys = 3, kThreads = 4;

// What the threads work on: the cache, or something broken that the checker must see through.
struct Register {
  virtual ~Register() = default;
  struct Seen {
    std::uint64_t value = 0, version = 0;
  };
  virtual Seen read(std::size_t key) = 0;
  virtual void write(std::size_t key, std::uint64_t value) = 0;
  virtual bool remove(std::size_t key) = 0;
  virtual bool swap(std::size_t key, std::uint64_t version, std::uint64_t value) = 0;
};

struct CacheRegister : Register {
  explicit CacheRegister(const TensorCacheOptions& options) : cache(options) {}
  // A store whose clock is late now and then: the cache asks it in the middle of what it does, and
  // there the threads change over.
  static CacheOptions restless() {
    return {.capacity_bytes = 1 << 28, .clock = [] {
              thread_local std::minstd_rand random(std::random_device{}());
              if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(20));
              return std::chrono::steady_clock::now();
            }};
  }
  static AddOptions options() { return {.time_to_live = std::chrono::hours(1)}; }   // so that reading asks the clock too
  // Large enough that replacing it takes a while, the same all along, so that a torn one would be
  // seen.
  static Tensor value_of(std::uint64_t value) {
    Tensor tensor(DType::kUInt64, {2000});
    for (std::size_t i = 0; i < 2000; ++i) std::memcpy(tensor.data().data() + 8 * i, &value, 8);
    return tensor;
  }
  Seen read(std::size_t key) override {
    Hit hit = cache.get(std::to_string(key));
    while (hit.unavailable()) hit = cache.get(std::to_string(key));   // says nothing of what is there
    if (!hit) return {};
    const auto elements = hit.tensor().elements<std::uint64_t>();
    if (elements.front() != elements.back()) return {UINT64_MAX, 0};
    return {elements.front(), hit.version()};
  }
  void write(std::size_t key, std::uint64_t value) override {
    while (!cache.add(std::to_string(key), value_of(value).view(), options())) std::this_thread::yield();   // all is pinned just now
  }
  bool remove(std::size_t key) override { return cache.remove(std::to_string(key)); }
  bool swap(std::size_t key, std::uint64_t version, std::uint64_t value) override {
    for (;;) {
      const WriteResult result = cache.put_if_version(std::to_string(key), version, value_of(value).view(), options());
      if (result.status == WriteStatus::kStored || result.status == WriteStatus::kConflict) return static_cast<bool>(result);
    }
  }
  TensorCache cache;
};

// Among others that want its room, so that what is there may go at any time.
struct CrowdedRegister : CacheRegister {
  using CacheRegister::CacheRegister;
  void write(std::size_t key, std::uint64_t value) override {
    CacheRegister::write(key, value);
    CacheRegister::write(kKeys + value % 32, value);
  }
};

// Among others that push everything out of memory, each time after the disk has it.
struct SwampedRegister : CacheRegister {
  using CacheRegister::CacheRegister;
  Seen read(std::size_t key) override {
    swamp();
    return CacheRegister::read(key);
  }
  void swamp() {
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t number = next++;
      CacheRegister::write(kKeys + number % 256, number);
      if (number % 2 == 0) static_cast<void>(cache.flush(std::chrono::seconds(20)));
    }
  }
  std::atomic<std::uint64_t> next{0};
};

// Remembers the last value each thread read, and gives it out once more: what a careless cache in
// front would do.
struct StaleRegister : CacheRegister {
  using CacheRegister::CacheRegister;
  Seen read(std::size_t key) override {
    thread_local std::map<std::size_t, std::pair<Seen, int>> remembered;
    auto& [seen, uses] = remembered[key];
    if (uses++ % 8 == 0) seen = CacheRegister::read(key);
    return seen;
  }
};

Histories run(Register& target, int calls, std::uint64_t seed) {
  Histories histories(kKeys, std::vector<std::vector<Operation>>(kThreads));
  std::atomic<std::uint64_t> clock{1}, values{1};
  std::vector<std::thread> threads;
  std::barrier start(kThreads);
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed * 1000 + t);
      start.arrive_and_wait();
      for (int i = 0; i < calls; ++i) {
        const std::size_t key = random() % kKeys;
        const auto record = [&](Operation operation) { histories[key][t].push_back(operation); };
        const auto read = [&] {
          Operation operation{.begin = clock++};
          const Register::Seen seen = target.read(key);
          operation.value = seen.value;
          operation.end = clock++;
          record(operation);
          return seen;
        };
        const std::uint64_t choice = random() % 10;
        if (choice < 5) {
          read();
        } else if (choice < 7) {
          Operation operation{.type = Type::kWrite, .value = values++, .begin = clock++};
          target.write(key, operation.value);
          operation.end = clock++;
          record(operation);
        } else if (choice < 8) {
          Operation operation{.type = Type::kRemove, .begin = clock++};
          operation.done = target.remove(key);
          operation.end = clock++;
          record(operation);
        } else {
          const Register::Seen seen = read();
          Operation operation{.type = Type::kSwap, .value = values++, .expected = seen.value, .begin = clock++};
          operation.done = target.swap(key, seen.version, operation.value);
          operation.end = clock++;
          record(operation);
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return histories;
}

// Calls during which another one began or ended: without them the histories say nothing.
std::size_t overlapping(const std::vector<std::vector<Operation>>& threads) {
  std::size_t count = 0;
  for (const auto& thread : threads) {
    for (const Operation& operation : thread) count += operation.end > operation.begin + 1;
  }
  return count;
}

TEST(Linearizable, TheCheckerKnowsRightFromWrong) {
  const Operation write{.type = Type::kWrite, .value = 1, .begin = 1, .end = 4};
  const auto read = [](std::uint64_t value, std::uint64_t begin, std::uint64_t end) { return Operation{.value = value, .begin = begin, .end = end}; };
  EXPECT_TRUE(is_linearizable({{write}, {read(0, 2, 3), read(1, 5, 6)}}));
  EXPECT_TRUE(is_linearizable({{write}, {read(1, 2, 3), read(1, 5, 6)}}));
  EXPECT_FALSE(is_linearizable({{write}, {read(1, 2, 3), read(0, 5, 6)}})) << "new, then old";
  EXPECT_FALSE(is_linearizable({{write}, {read(0, 5, 6)}})) << "old after the write ended";
  EXPECT_FALSE(is_linearizable({{write}, {read(2, 2, 3)}})) << "never written";
  const auto swap = [](std::uint64_t expected, std::uint64_t value, bool done) {
    return Operation{.type = Type::kSwap, .value = value, .expected = expected, .done = done, .begin = 5, .end = 8};
  };
  EXPECT_TRUE(is_linearizable({{write, swap(1, 2, true)}, {swap(1, 3, false)}}));
  EXPECT_FALSE(is_linearizable({{write, swap(1, 2, true)}, {swap(1, 3, true)}})) << "a lost update";
}

TEST(Linearizable, TheCheckerSeesThroughACarelessCache) {
  StaleRegister target({.store = CacheRegister::restless()});
  bool all = true;
  for (const auto& threads : run(target, 400, 1)) all = all && is_linearizable(threads);
  EXPECT_FALSE(all);
}

TEST(Linearizable, EveryKeyUnderLoad) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    CacheRegister target({.store = CacheRegister::restless()});
    const Histories histories = run(target, 1500, seed);
    for (std::size_t key = 0; key < kKeys; ++key) {
      EXPECT_TRUE(is_linearizable(histories[key])) << "key " << key << ", seed " << seed;
      EXPECT_GT(overlapping(histories[key]), 50u);
    }
  }
}

TEST(Linearizable, WhereValuesAreEvicted) {
  CacheOptions store = CacheRegister::restless();
  store.capacity_bytes = 220'000;   // a dozen of them
  CrowdedRegister target({.store = store});
  const Histories histories = run(target, 1500, 6);
  for (std::size_t key = 0; key < kKeys; ++key) EXPECT_TRUE(is_linearizable(histories[key], true)) << "key " << key;
  EXPECT_GT(target.cache.stats().store.evictions, 100u);
}

TEST(Linearizable, WithADiskUnderIt) {
  CacheOptions store = CacheRegister::restless();
  store.disk = DiskOptions{.directory = "cache", .on_event = {}, .file_system = std::make_shared<testing::FaultFiles>(), .unix_ms = {}};
  CacheRegister target({.store = store});
  const Histories histories = run(target, 600, 7);
  for (std::size_t key = 0; key < kKeys; ++key) EXPECT_TRUE(is_linearizable(histories[key])) << "key " << key;
}

// Memory for a few values, a slow disk with room for all, others that push them out: no value
// vanishes, not even for a moment.
TEST(Linearizable, WhereValuesAreOnASlowDiskOnly) {
  for (std::uint64_t seed = 8; seed <= 10; ++seed) {
    const auto files = std::make_shared<testing::FaultFiles>();
    files->set_read_delay(std::chrono::milliseconds(1));
    CacheOptions store;
    store.capacity_bytes = 500'000;   // some thirty values
    store.disk =
        DiskOptions{.directory = "cache", .queue_bytes = 400'000, .segment_bytes = 1 << 20, .on_event = {}, .file_system = files, .unix_ms = {}};
    SwampedRegister target({.store = store});
    const Histories histories = run(target, 200, seed);
    for (std::size_t key = 0; key < kKeys; ++key) EXPECT_TRUE(is_linearizable(histories[key])) << "key " << key << ", seed " << seed;
    const TensorCacheStats stats = target.cache.stats();
    EXPECT_GT(stats.store.evictions, 100u);
    EXPECT_GT(stats.disk.hits, 20u);
    EXPECT_EQ(stats.disk.dropped_puts, 0u) << "the history is worth nothing where a value went for good";
    EXPECT_EQ(stats.disk.index_full, 0u);
    EXPECT_EQ(stats.disk.evictions, 0u);
  }
}

}   // namespace
}   // namespace tensorcache
