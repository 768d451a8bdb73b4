// Tests only: a clock that moves only when told.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace tensorcache::testing {

// THREADS: all members from any thread. REQUIRES: it outlives the caches that have its functions.
class FakeClock {
 public:
  // For CacheOptions::clock.
  [[nodiscard]] auto function() const {
    return [this] { return std::chrono::steady_clock::time_point(std::chrono::milliseconds(now_ms_.load())); };
  }
  // The same clock as wall time, for DiskOptions::unix_ms.
  [[nodiscard]] auto unix_ms() const {
    return [this] { return kUnixEpochMs + now_ms_.load(); };
  }
  void advance(std::chrono::milliseconds by) { now_ms_ += by.count(); }

 private:
  static constexpr std::int64_t kUnixEpochMs = 1'700'000'000'000;
  std::atomic<std::int64_t> now_ms_{1'000'000};
};

}   // namespace tensorcache::testing
