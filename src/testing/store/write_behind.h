// Tests only: a cache whose write-behind queue has room for ten values, so that further ones wait.
#pragma once

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "testing/store/disk_cache.h"

namespace tensorcache::testing {

class WriteBehind : public DiskCache {
 protected:
  static constexpr std::size_t kValueBytes = 10'000, kQueueBytes = 100'000, kValues = 100;

  ~WriteBehind() override { files_->hold_writes(false); }
  void start(std::uint64_t memory_bytes = 16 << 20, std::uint64_t queue_bytes = kQueueBytes) {
    cache_.reset();
    CacheOptions options;
    options.capacity_bytes = memory_bytes;
    options.clock = clock_.function();
    options.disk = DiskOptions{.directory = "cache",
                               .queue_bytes = queue_bytes,
                               .on_event =
                                   [this](const std::string& event) {
                                     const std::lock_guard lock(mutex_);
                                     events_.push_back(event);
                                   },
                               .file_system = files_,
                               .unix_ms = clock_.unix_ms()};
    cache_ = std::make_unique<Cache>(std::move(options));
    ASSERT_TRUE(eventually([&] { return cache_->disk_stats().ready; }));
  }
  // Each value behind the one before it if `chained`.
  void put(std::size_t first, std::size_t end, bool chained = false, PutOptions options = {}) {
    for (std::size_t i = first; i < end; ++i) {
      if (chained && i > 0) options.parent = key_of(i - 1);
      ASSERT_EQ(cache_->put(key_of(i), value_of(i, kValueBytes), options), PutStatus::kStored) << i;
    }
  }
  // Faster than the disk writes.
  void put_all(std::size_t values = kValues, bool chained = false) {
    files_->set_write_delay(20ms);
    put(0, values, chained);
  }
  [[nodiscard]] std::uint64_t waiting_bytes() const { return cache_->disk_stats().pending_bytes - cache_->disk_stats().queued_bytes; }
  [[nodiscard]] std::size_t values_after_restart() {
    cache_.reset();
    files_->set_write_delay(0ms);
    start();
    std::size_t found = 0;
    for (std::size_t i = 0; i < kValues; ++i) found += holds(i, kValueBytes);
    return found;
  }
  [[nodiscard]] std::size_t events_about_slowness() {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(
        std::count_if(events_.begin(), events_.end(), [](const std::string& event) { return event.find("slower") != std::string::npos; }));
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> events_;
};

}   // namespace tensorcache::testing
