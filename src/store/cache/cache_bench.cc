// Benchmark of the library: hits, prefix matches, and writes into a full cache, with their page
// faults.
//   cache_bench --benchmark_filter=PutEvict
#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tensorcache/cache.h"

namespace {

using tensorcache::Cache;
using tensorcache::Key;

std::vector<Key> keys(std::size_t count) {
  std::vector<Key> made;
  for (std::size_t i = 0; i < count; ++i) made.push_back(tensorcache::KeyBuilder("bench/1").field("n", i).build());
  return made;
}

void BM_Key(benchmark::State& state) {
  const std::string text(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(tensorcache::KeyBuilder("bench/1").field("model", "m").field("text", text).build());
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Key)->Arg(100)->Arg(10'000);

void BM_Hit(benchmark::State& state) {
  static const std::vector<Key> all = keys(10'000);
  static Cache* const cache = [] {
    auto* filled = new Cache({});
    for (const Key& key : all) (void)filled->put(key, "a small value");
    return filled;
  }();
  std::size_t i = static_cast<std::size_t>(state.thread_index()) * 5000;
  for (auto _ : state) {
    benchmark::DoNotOptimize(cache->get(all[i]).bytes().data());
    i = (i + 7) % all.size();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Hit)->Threads(1)->Threads(2)->UseRealTime();

void BM_Match(benchmark::State& state) {
  const auto chain = keys(static_cast<std::size_t>(state.range(0)));
  Cache cache({});
  for (std::size_t i = 0; i < chain.size(); ++i) {
    tensorcache::PutOptions options{.kind = tensorcache::Kind::kPrefixBlock};
    if (i > 0) options.parent = chain[i - 1];
    (void)cache.put(chain[i], "block", options);
  }
  for (auto _ : state) benchmark::DoNotOptimize(cache.match(chain).size());
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Match)->Arg(32)->Arg(2048);

// Counts the page faults of this thread while it lives.
class Faults {
 public:
  explicit Faults(benchmark::State& state) : state_(state), before_(now()) {}
  ~Faults() { state_.counters["page_faults"] = benchmark::Counter(now() - before_, benchmark::Counter::kAvgIterations); }
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

 private:
  static double now() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return static_cast<double>(usage.ru_minflt);
  }
  benchmark::State& state_;
  double before_;
};

// Writes a block into a full cache: the oldest is evicted and its memory reused.
void BM_PutEvict(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const std::string value(size, 'x');
  const auto all = keys(512);
  Cache cache({.capacity_bytes = 64 * (size + 512)});
  std::size_t i = 0;
  const auto put = [&] { (void)cache.put(all[i++ % all.size()], value); };
  while (i < 200) put();
  const Faults faults(state);
  for (auto _ : state) put();
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_PutEvict)->Arg(1 << 10)->Arg(64 << 10)->Arg(512 << 10)->Arg(1 << 20)->Arg(4 << 20);

// The same copies without a cache or a pool: into memory from the system, returned each time...
void BM_CopyToFreshPages(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const std::string value(size, 'x');
  const Faults faults(state);
  for (auto _ : state) {
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memcpy(memory, value.data(), size);
    benchmark::DoNotOptimize(memory);
    munmap(memory, size);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_CopyToFreshPages)->Arg(512 << 10)->Arg(1 << 20)->Arg(4 << 20);

// ...or into memory from malloc, which keeps freed memory, but outside any budget and only up to 32
// MiB.
void BM_CopyToMalloc(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const std::string value(size, 'x');
  std::vector<std::unique_ptr<char[]>> ring(64);
  std::size_t i = 0;
  const auto put = [&] {
    auto& slot = ring[i++ % ring.size()];
    slot.reset();
    slot.reset(new char[size]);
    std::memcpy(slot.get(), value.data(), size);
    benchmark::DoNotOptimize(slot.get());
  };
  while (i < 200) put();
  const Faults faults(state);
  for (auto _ : state) put();
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_CopyToMalloc)->Arg(512 << 10)->Arg(1 << 20)->Arg(4 << 20);

// Measures the longest get() of a thread that reads all the time, and the longest one without an
// involuntary context switch: that time the cache itself made it wait.
class LongestGet {
 public:
  void time(Cache& cache, const Key& key) {
    using Clock = std::chrono::steady_clock;
    const long preempted = preemptions();
    const auto begin = Clock::now();
    benchmark::DoNotOptimize(cache.get(key).bytes().data());
    const double took = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    if (preempted == preemptions()) waited_ms = std::max(waited_ms, took);
    any_ms = std::max(any_ms, took);
  }
  double any_ms = 0, waited_ms = 0;

 private:
  static long preemptions() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
  }
};

// Halves the capacity with 100,000 values while another thread reads.
void BM_ResizeDownWhileReading(benchmark::State& state) {
  const std::string value(static_cast<std::size_t>(state.range(0)), 'x'), policy = state.range(1) == 0 ? "lru" : "auto";
  const auto all = keys(100'000);
  LongestGet longest;
  for (auto _ : state) {
    state.PauseTiming();
    Cache cache({.capacity_bytes = all.size() * (value.size() + 1024) * 2, .policy = policy});
    for (const Key& key : all) (void)cache.put(key, value);
    std::atomic<bool> resizing{false}, ended{false};
    std::thread reader([&] {
      for (std::size_t i = 0; !ended; i = (i + 7919) % all.size()) {
        if (resizing) longest.time(cache, all[i]);
      }
    });
    const std::uint64_t half = cache.stats().used_bytes / 2;
    resizing = true;
    state.ResumeTiming();
    cache.resize(half);
    state.PauseTiming();
    ended = true;
    reader.join();
    state.ResumeTiming();
  }
  state.counters["longest_get_ms"] = longest.any_ms;
  state.counters["longest_wait_ms"] = longest.waited_ms;
}
BENCHMARK(BM_ResizeDownWhileReading)
    ->ArgNames({"bytes", "auto"})
    ->Args({1000, 0})
    ->Args({1000, 1})
    ->Args({16 << 10, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}   // namespace

BENCHMARK_MAIN();
