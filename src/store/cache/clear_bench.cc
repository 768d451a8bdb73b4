// Measures how long other threads wait while an owner is cleared: 100,000 of 200,000 values of 1
// KiB, in memory and on disk. Another thread looks up and puts values of other owners. Prints its
// longest call before and during the clear, without calls during which the kernel preempted the
// thread.
//
//   clear_bench [DIRECTORY]   with DIRECTORY, on disk as well
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>

#include "testing/core/values.h"
#include "tensorcache/cache.h"

namespace {

using namespace tensorcache;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kValues = 200'000;
constexpr std::size_t kBytes = 1024;

double ms(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

struct Longest {
  std::atomic<std::int64_t> get_ns{0}, put_ns{0}, calls{0};
  void reset() { get_ns = put_ns = calls = 0; }
};

void note(std::atomic<std::int64_t>& longest, Clock::duration time) {
  longest = std::max<std::int64_t>(longest, std::chrono::nanoseconds(time).count());
}

long taken_away() {   // involuntary context switches
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

void print(const char* when, const Longest& longest) {
  std::printf("%s: longest get %.2f ms, longest put %.2f ms, %lld calls\n", when, static_cast<double>(longest.get_ns) / 1e6,
              static_cast<double>(longest.put_ns) / 1e6, static_cast<long long>(longest.calls));
}

CacheOptions options_for(const char* directory) {
  CacheOptions options;
  options.capacity_bytes = std::uint64_t{1} << 30;
  if (directory == nullptr) return options;
  options.disk.emplace();
  options.disk->directory = directory;
  options.disk->capacity_bytes = std::uint64_t{4} << 30;
  return options;
}

}   // namespace

int main(int count, char** arguments) {
  Cache cache(options_for(count > 1 ? arguments[1] : nullptr));
  const std::string value(kBytes, 'v');
  for (std::uint64_t i = 0; i < kValues; ++i) {
    static_cast<void>(cache.put(testing::key_of(i), value, {.owner = 1 + i % 2}));
    if (i % 20'000 == 0) static_cast<void>(cache.flush(std::chrono::minutes(1)));
  }
  static_cast<void>(cache.flush(std::chrono::minutes(1)));
  Longest longest;
  std::atomic<bool> stop{false};
  std::thread other([&] {
    long taken = taken_away();
    const auto noted = [&](std::atomic<std::int64_t>& longest_of, Clock::duration time) {
      if (const long now = taken_away(); now == std::exchange(taken, now)) note(longest_of, time);
    };
    for (std::uint64_t i = 0; !stop; ++i) {
      auto begin = Clock::now();
      static_cast<void>(cache.get(testing::key_of(1 + 2 * (i * 7919 % (kValues / 2)))));   // owner 2's
      noted(longest.get_ns, Clock::now() - begin);
      begin = Clock::now();
      static_cast<void>(cache.put(testing::key_of(10'000'000 + i), value, {.owner = 3}));
      noted(longest.put_ns, Clock::now() - begin);
      ++longest.calls;
    }
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  longest.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  print("before", longest);
  longest.reset();
  const auto begin = Clock::now();
  const std::uint64_t gone = cache.clear(1);
  const auto took = Clock::now() - begin;
  print("during", longest);
  stop = true;
  other.join();
  std::printf("clear(1): %llu entries in %.1f ms\n", static_cast<unsigned long long>(gone), ms(took));
  if (count > 1) {
    const auto flush = Clock::now();
    const bool flushed = cache.flush(std::chrono::minutes(2));
    std::printf("flush: %s after %.0f ms\n", flushed ? "true" : "false", ms(Clock::now() - flush));
  }
  return 0;
}
