// Tests only: a cache with a disk of files in memory under it.
#pragma once

#include <memory>

#include "testing/store/cache.h"
#include "testing/store/fault_files.h"
#include "testing/core/eventually.h"

namespace tensorcache::testing {

using namespace std::chrono_literals;

class DiskCache : public ::testing::Test {
 protected:
  void start(std::uint64_t memory_bytes = 16 << 20, std::uint64_t disk_bytes = 64 << 20) {
    cache_.reset();
    CacheOptions options;
    options.capacity_bytes = memory_bytes;
    options.clock = clock_.function();
    options.disk =
        DiskOptions{.directory = "cache", .capacity_bytes = disk_bytes, .on_event = {}, .file_system = files_, .unix_ms = clock_.unix_ms()};
    cache_ = std::make_unique<Cache>(std::move(options));
    ASSERT_TRUE(eventually([&] { return cache_->disk_stats().ready; }));
  }
  void restart() {
    ASSERT_TRUE(cache_->flush(20s));
    start();
  }
  [[nodiscard]] bool holds(std::uint64_t number, std::size_t size) {
    const Handle handle = cache_->get(key_of(number));
    if (handle) {
      EXPECT_EQ(handle.text(), value_of(number, size));
    }
    return static_cast<bool>(handle);
  }

  std::shared_ptr<FaultFiles> files_ = std::make_shared<FaultFiles>();
  FakeClock clock_;
  std::unique_ptr<Cache> cache_;
};

}   // namespace tensorcache::testing
