// Tests only: a disk tier over files in memory, or real ones, and values that tell whose they are.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "testing/core/values.h"
#include "store/disk/disk_tier.h"
#include "testing/store/fault_files.h"
#include "testing/core/eventually.h"

namespace tensorcache::testing {

inline std::vector<std::byte> value_bytes(std::uint64_t number, std::size_t size) {
  const std::string text = value_of(number, size);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

class TestTier {
 public:
  explicit TestTier(std::shared_ptr<file::FileSystem> files = std::make_shared<FaultFiles>(),
                    const std::function<void(disk::DiskTierOptions&)>& change = {}, const std::string& directory = "cache")
      : files_(std::move(files)) {
    options_.directory = directory;
    options_.capacity_bytes = 8 << 20;
    options_.segment_bytes = 256 << 10;
    options_.files = files_;
    options_.retry_pause = std::chrono::milliseconds(1);
    options_.unix_ms = [now = now_] { return now->load(); };
    options_.on_event = [events = events_](const std::string& event) { events->push_back(event); };
    if (change) change(options_);
    start();
  }
  void start() {
    tier_ = std::make_unique<disk::DiskTier>(options_);
    EXPECT_TRUE(tier_->wait_ready(std::chrono::seconds(20)));
  }
  // Cleanly.
  void stop() { tier_.reset(); }
  void restart() {
    stop();
    start();
  }

  bool put(std::uint64_t number, std::size_t size, const std::function<void(disk::DiskTier::Value&)>& change = {}) {
    auto bytes = std::make_shared<std::vector<std::byte>>(value_bytes(number, size));
    disk::DiskTier::Value value;
    value.key = key_of(number);
    value.bytes = *bytes;
    value.holder = bytes;
    value.created_unix_ms = *now_;
    if (change) change(value);
    return tier_->put(std::move(value));
  }
  bool put_behind(std::uint64_t parent, std::uint64_t number, std::size_t size) {
    return put(number, size, [&](disk::DiskTier::Value& value) { value.parent = key_of(parent); });
  }
  // How many of these are read, each checked.
  std::size_t read(const std::vector<std::uint64_t>& numbers) {
    std::vector<Key> keys;
    for (const std::uint64_t number : numbers) keys.push_back(key_of(number));
    std::map<std::size_t, std::vector<std::byte>> values;
    return tier_
        ->read(
            keys,
            [&](std::size_t i, const disk::DiskTier::Found& found) {
              values[i].assign(found.value_bytes, std::byte{});
              return std::span(values[i]);
            },
            [&](std::size_t i, const tier::Copy& copy) {
              EXPECT_EQ(copy.key, keys[i]);
              EXPECT_EQ(values[i], value_bytes(numbers[i], values[i].size())) << "a wrong value";
              return disk::DiskTier::Verdict::kTaken;
            })
        .accepted;
  }
  bool has(std::uint64_t number) { return read({number}) == 1; }
  bool flush() { return tier_->flush(std::chrono::seconds(20)); }
  // Until writing works.
  [[nodiscard]] bool healed() {
    const auto writes = [&] { return !tier_->stats().degraded && put(1'000'000 + healings_, 10) && flush(); };
    return eventually(writes) && ++healings_ > 0;
  }

  disk::DiskTier& operator*() { return *tier_; }
  disk::DiskTier* operator->() { return tier_.get(); }
  std::vector<std::string>& events() { return *events_; }
  std::atomic<std::int64_t>& now_ms() { return *now_; }   // the tier's threads read it
  disk::DiskTierOptions& options() { return options_; }

 private:
  std::shared_ptr<file::FileSystem> files_;
  std::shared_ptr<std::atomic<std::int64_t>> now_ = std::make_shared<std::atomic<std::int64_t>>(1'700'000'000'000);
  std::shared_ptr<std::vector<std::string>> events_ = std::make_shared<std::vector<std::string>>();
  disk::DiskTierOptions options_;
  std::unique_ptr<disk::DiskTier> tier_;
  std::uint64_t healings_ = 0;
};

}   // namespace tensorcache::testing
