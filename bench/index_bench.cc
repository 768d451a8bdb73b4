// The index in memory: how fast a hit, a match and an insertion are, beside RocksDB's HyperClockCache and oneTBB's concurrent_hash_map.
//   ./dev bench index
// A million entries, keys of 16 bytes (ours are of 32), Zipf 0.99, all resident; a hit is find, pin and unpin.
#include <benchmark/benchmark.h>
#include <malloc.h>
#include <oneapi/tbb/concurrent_hash_map.h>
#include <rocksdb/cache.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tensorcache/cache.h"

namespace {

using tensorcache::Cache;
using tensorcache::Key;

constexpr std::size_t kEntries = 1'000'000, kAccesses = std::size_t{1} << 20, kValueBytes = 64;

// As uniform as a digest, and made in a nanosecond or two: a table of a million keys, of ours above all, would take the processor's cache from
// what is looked up.
std::uint64_t word_of(std::uint64_t id, std::uint64_t which) {   // SplitMix64
  std::uint64_t word = (id * 4 + which + 1) * 0x9e3779b97f4a7c15u;
  word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9u;
  word = (word ^ word >> 27) * 0x94d049bb133111ebu;
  return word ^ word >> 31;
}
Key key_of(std::uint64_t id) {
  const std::array<std::uint64_t, 4> words{word_of(id, 0), word_of(id, 1), word_of(id, 2), word_of(id, 3)};
  Key key;
  std::memcpy(key.bytes.data(), words.data(), sizeof words);
  return key;
}
using ShortKey = std::array<std::uint64_t, 2>;
ShortKey short_key_of(std::uint64_t id) { return {word_of(id, 0), word_of(id, 1)}; }

// Which entries a thread asks for, one after the other.
const std::vector<std::uint32_t>& accesses(int thread) {
  static const auto all = [] {
    std::vector<double> sums(kEntries);
    double sum = 0;
    for (std::size_t i = 0; i < kEntries; ++i) sums[i] = sum += 1 / std::pow(static_cast<double>(i + 1), 0.99);
    std::array<std::vector<std::uint32_t>, 2> both;
    for (std::size_t t = 0; t < both.size(); ++t) {
      std::mt19937_64 random(t + 1);
      std::uniform_real_distribution<double> uniform(0, sum);
      for (std::size_t i = 0; i < kAccesses; ++i)
        both[t].push_back(static_cast<std::uint32_t>(std::lower_bound(sums.begin(), sums.end(), uniform(random)) - sums.begin()));
    }
    return both;
  }();
  return all[static_cast<std::size_t>(thread) % all.size()];
}

template <class MakeKey, class Hit>
void hit_loop(benchmark::State& state, int thread, const MakeKey& make_key, const Hit& hit) {
  const std::vector<std::uint32_t>& ids = accesses(thread);
  std::size_t i = 0;
  for (auto _ : state) {
    hit(make_key(ids[i]));
    i = (i + 1) & (kAccesses - 1);
  }
  state.SetItemsProcessed(state.iterations());
}

Cache& full_cache(std::size_t value_bytes) {
  static std::unique_ptr<Cache> cache;
  static std::size_t bytes = 0;
  if (!cache || bytes != value_bytes) {
    cache.reset();
    cache = std::make_unique<Cache>(tensorcache::CacheOptions{.capacity_bytes = std::uint64_t{2} << 30});
    const std::string value(value_bytes, 'x');
    for (std::size_t id = 0; id < kEntries; ++id) (void)cache->put(key_of(id), value);
    bytes = value_bytes;
  }
  return *cache;
}

void BM_Hit_TensorCache(benchmark::State& state) {
  static Cache* cache = nullptr;
  if (state.thread_index() == 0) cache = &full_cache(kValueBytes);
  hit_loop(state, state.thread_index(), key_of, [&](const Key& key) { benchmark::DoNotOptimize(cache->get(key).bytes().data()); });
}
BENCHMARK(BM_Hit_TensorCache)->Threads(1)->Threads(2)->UseRealTime();

void BM_Hit_HyperClockCache(benchmark::State& state) {
  static std::shared_ptr<rocksdb::Cache> cache;
  static char value[kValueBytes];
  if (state.thread_index() == 0 && !cache) {
    constexpr std::size_t kCharge = kValueBytes + 64;
    cache = rocksdb::HyperClockCacheOptions(2 * kEntries * kCharge, kCharge, -1, false, nullptr, rocksdb::kDontChargeCacheMetadata).MakeSharedCache();
    for (std::size_t id = 0; id < kEntries; ++id) {
      const ShortKey key = short_key_of(id);
      if (!cache->Insert({reinterpret_cast<const char*>(key.data()), sizeof key}, value, kCharge, [](const rocksdb::Slice&, void*) {}).ok())
        std::abort();
    }
  }
  std::atomic<std::uint64_t> misses{0};
  hit_loop(state, state.thread_index(), short_key_of, [&](const ShortKey& key) {
    auto* handle = cache->Lookup({reinterpret_cast<const char*>(key.data()), sizeof key});
    if (handle == nullptr) {
      ++misses;
      return;
    }
    benchmark::DoNotOptimize(cache->Value(handle));
    cache->Release(handle);
  });
  if (misses * 100 > state.iterations()) state.SkipWithError("more than 1 % missed");
}
BENCHMARK(BM_Hit_HyperClockCache)->Threads(1)->Threads(2)->UseRealTime();

struct ShortHash {
  static std::size_t hash(const ShortKey& key) { return key[0]; }
  static bool equal(const ShortKey& a, const ShortKey& b) { return a == b; }
};

void BM_Hit_oneTBB(benchmark::State& state) {
  using Map = oneapi::tbb::concurrent_hash_map<ShortKey, std::array<char, kValueBytes>, ShortHash>;
  static std::unique_ptr<Map> map;
  if (state.thread_index() == 0 && !map) {
    map = std::make_unique<Map>(kEntries);
    for (std::size_t id = 0; id < kEntries; ++id) map->emplace(short_key_of(id), std::array<char, kValueBytes>{});
  }
  hit_loop(state, state.thread_index(), short_key_of, [&](const ShortKey& key) {
    Map::const_accessor pinned;
    benchmark::DoNotOptimize(map->find(pinned, key));
  });
}
BENCHMARK(BM_Hit_oneTBB)->Threads(1)->Threads(2)->UseRealTime();

// The same hit whatever the value's size: nothing is copied. A thousand entries for both, of which eight are looked up.
void BM_HitOfSize(benchmark::State& state) {
  Cache cache({.capacity_bytes = std::uint64_t{1} << 30});
  const std::string value(static_cast<std::size_t>(state.range(0)), 'x'), small(kValueBytes, 'x');
  for (std::size_t id = 0; id < 1000; ++id) (void)cache.put(key_of(id), id < 8 ? value : small);
  std::vector<Key> keys;
  for (std::size_t id = 0; id < 8; ++id) keys.push_back(key_of(id));
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(cache.get(keys[i++ & 7]).bytes().data());
}
BENCHMARK(BM_HitOfSize)->Arg(64)->Arg(16 << 20);

// match() alone, and with what telling the policy of all the blocks costs later.
void BM_Match(benchmark::State& state) {
  const bool with_policy = state.range(1) != 0;
  Cache cache({});
  std::vector<Key> chain;
  for (std::size_t i = 0; i < static_cast<std::size_t>(state.range(0)); ++i) {
    chain.push_back(key_of(i));
    tensorcache::PutOptions options{.kind = tensorcache::Kind::kPrefixBlock};
    if (i > 0) options.parent = chain[i - 1];
    (void)cache.put(chain[i], "block", options);
  }
  constexpr int kBetween = 16;   // fewer than fit before the policy is told
  for (auto _ : state) {
    for (int i = 0; i < kBetween; ++i) benchmark::DoNotOptimize(cache.match(chain).size());
    if (!with_policy) state.PauseTiming();
    (void)cache.list(std::nullopt, 0);   // tells the policy
    if (!with_policy) state.ResumeTiming();
  }
  state.SetLabel("time of " + std::to_string(kBetween) + " matches");
}
BENCHMARK(BM_Match)->ArgNames({"blocks", "with_policy"})->Args({2048, 0})->Args({2048, 1});

// Every insertion evicts. Fresh keys, made beforehand.
void BM_InsertEvict(benchmark::State& state) {
  static std::unique_ptr<Cache> cache;
  static std::vector<Key> keys;
  if (state.thread_index() == 0) {
    cache = std::make_unique<Cache>(tensorcache::CacheOptions{.capacity_bytes = std::uint64_t{64} << 20});
    if (keys.empty()) {
      for (std::size_t i = 0; i < std::size_t{1} << 21; ++i) keys.push_back(key_of(1'000'000'000 + i));
    }
    for (std::size_t i = 0; i < keys.size() / 2; ++i) (void)cache->put(keys[i], std::string_view("x"));
  }
  const char value[kValueBytes] = {};
  const std::size_t half = keys.size() / 2;
  std::size_t i = 0;
  for (auto _ : state) {
    const std::size_t at = state.threads() == 1 ? i & (keys.size() - 1) : (i & (half - 1)) * 2 + static_cast<std::size_t>(state.thread_index());
    (void)cache->put(keys[at], std::string_view(value, sizeof value));
    ++i;
  }
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0)
    state.counters["evicted_share"] = static_cast<double>(cache->stats().evictions) / static_cast<double>(cache->stats().puts);
}
BENCHMARK(BM_InsertEvict)->Threads(1)->Threads(2)->UseRealTime();

// Hits on one thread while another inserts and evicts all the time.
void BM_HitWhileEvicting(benchmark::State& state) {
  Cache churned({.capacity_bytes = std::uint64_t{256} << 20});
  for (std::size_t id = 0; id < kEntries; ++id) (void)churned.put(key_of(id), std::string(kValueBytes, 'x'));
  std::atomic<bool> stop{false};
  std::thread churning([&] {
    for (std::size_t id = 2'000'000; !stop; ++id) (void)churned.put(key_of(id), std::string_view("a fresh one"));
  });
  hit_loop(state, 0, key_of, [&](const Key& key) { benchmark::DoNotOptimize(churned.get(key).bytes().data()); });
  stop = true;
  churning.join();
  const auto stats = churned.stats();
  state.counters["hit_share"] = static_cast<double>(stats.hits) / static_cast<double>(stats.hits + stats.misses);
}
BENCHMARK(BM_HitWhileEvicting)->UseRealTime();

// Bytes that each of a million entries takes beside its value: charged to the budget, and really allocated.
void BM_Metadata(benchmark::State& state) {
  double charged = 0, allocated = 0;
  for (auto _ : state) {
    Cache cache({.capacity_bytes = std::uint64_t{2} << 30});
    const std::string value(kValueBytes, 'x');
    const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (std::size_t id = 0; id < kEntries; ++id) (void)cache.put(key_of(id), value);
    allocated = static_cast<double>(mallinfo2().uordblks + mallinfo2().hblkhd - before) / kEntries - kValueBytes;
    charged = static_cast<double>(cache.stats().used_bytes) / kEntries - kValueBytes;
  }
  state.counters["charged_bytes"] = charged;
  state.counters["allocated_bytes"] = allocated;
}
BENCHMARK(BM_Metadata)->Iterations(1)->Unit(benchmark::kMillisecond);

}   // namespace

BENCHMARK_MAIN();
