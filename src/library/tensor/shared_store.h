// State shared by all caches of one store: the store, the clock of versions, and the invalidations
// of tags.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "library/tensor/tags.h"
#include "tensorcache/cache.h"

namespace tensorcache::tensor {

struct Shared {
  explicit Shared(const CacheOptions& options)
      : cache(options), tags(make_tags(options, cache)), unix_ms_(options.disk ? options.disk->unix_ms : nullptr) {
    // Waits until the stored entries are visible: a program expects them right after it opened the
    // cache.
    while (options.disk && !cache.disk_stats().ready) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    see(tags->newest());
    see(version_of(cache.disk_stats().newest_unix_ms) + 1000);   // the earlier clock may have been ahead
    if (tags->is_damaged()) tags->invalidate_all(next_version());
  }

  // RETURNS a version larger than all before it, including those that earlier processes left on
  // disk.
  [[nodiscard]] std::uint64_t next_version() {
    const std::uint64_t micros = now();
    std::uint64_t last = last_version.load(std::memory_order_relaxed), next = 0;
    do next = std::max(last + 1, micros);
    while (!last_version.compare_exchange_weak(last, next));
    return next;
  }
  // Records a version found on disk.
  void see(std::uint64_t version) {
    std::uint64_t last = last_version.load(std::memory_order_relaxed);
    while (last < version && !last_version.compare_exchange_weak(last, version)) {
    }
  }

  Cache cache;
  const std::unique_ptr<Tags> tags;     // after the cache, which creates the directory and locks it
  std::atomic<std::size_t> caches{0};   // caches that use this store

 private:
  static std::unique_ptr<Tags> make_tags(const CacheOptions& options, Cache& cache) {
    if (!options.disk) return std::make_unique<Tags>();
    const DiskOptions& disk = *options.disk;
    return std::make_unique<Tags>(disk.file_system ? disk.file_system : file::real_file_system(), disk.directory, disk.capacity_bytes,
                                  [&cache](const std::string& name, std::uint64_t bytes) { cache.account_file(name, bytes); });
  }
  static std::uint64_t version_of(std::int64_t unix_ms) { return static_cast<std::uint64_t>(std::max<std::int64_t>(unix_ms, 0)) * 1000; }
  [[nodiscard]] std::uint64_t now() const {
    if (unix_ms_) return version_of(unix_ms_());
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
  }
  const std::function<std::int64_t()> unix_ms_;   // for tests
  std::atomic<std::uint64_t> last_version{0};
};

}   // namespace tensorcache::tensor
