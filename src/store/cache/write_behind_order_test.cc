// Parents and children that wait to be written, while other threads queue values too: none is lost.
#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "testing/store/write_behind.h"

namespace tensorcache {
namespace {

using namespace std::chrono_literals;
using testing::eventually, testing::key_of, testing::value_of;

constexpr std::size_t kMib = 1 << 20;
constexpr std::size_t kParent = 200, kChild = 201, kLarge = 100;

class WriteBehindOrder : public testing::WriteBehind {
 protected:
  void put_one(std::size_t i, std::size_t bytes, const PutOptions& options = {}) {
    ASSERT_EQ(cache_->put(key_of(i), value_of(i, bytes), options), PutStatus::kStored) << i;
  }
  // The first value is being written, and the queue has room for 500 bytes. The large value waits.
  void fill(std::size_t queue_bytes, std::size_t first_bytes, std::size_t already_bytes = 0) {
    put_one(0, first_bytes);
    ASSERT_TRUE(eventually([&] { return files_->held_writes() > 0; }));
    std::size_t left = queue_bytes - first_bytes - already_bytes;
    std::size_t i = 1;
    for (; left > kMib; left -= kMib) put_one(i++, kMib);
    put_one(i, left - 500);
  }
  void let_writes_go_slowly() {
    files_->set_write_delay(100ms);
    files_->hold_writes(false);
  }
  void expect_written(std::initializer_list<std::size_t> values, std::size_t memory_bytes, std::size_t queue_bytes) {
    files_->hold_writes(false);
    EXPECT_TRUE(cache_->flush(20s));
    EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
    files_->set_write_delay(0ms);
    start(memory_bytes, queue_bytes);
    for (const std::size_t i : values) EXPECT_TRUE(cache_->contains(key_of(i))) << i;
  }
};

// Whoever queues a child queues its waiting parent, which is not queued again in its turn.
TEST_F(WriteBehindOrder, AParentIsQueuedOnceThoughItWaitedAndExpiresLater) {
  for (const auto time_to_live : {0ms, std::chrono::milliseconds(1h)}) {
    files_ = std::make_shared<testing::FaultFiles>();
    start(512 * kMib, 20 * kMib);
    files_->hold_writes(true);
    fill(20 * kMib, kMib);
    put_one(kLarge, 10 * kMib);
    put_one(kParent, 2000, {.time_to_live = time_to_live});
    let_writes_go_slowly();
    ASSERT_TRUE(eventually([&] { return cache_->disk_stats().queued_bytes < 20 * kMib - 5000; }));
    put_one(kChild, 1000, {.parent = key_of(kParent)});
    expect_written({kParent, kChild, kLarge}, 512 * kMib, 20 * kMib);
  }
}

// The tier has an older version of the parent in its queue.
TEST_F(WriteBehindOrder, AChildOfAParentThatWasStoredAgainIsWritten) {
  for (const bool replaces : {false, true}) {
    files_ = std::make_shared<testing::FaultFiles>();
    start(512 * kMib, 20 * kMib);
    files_->hold_writes(true);
    put_one(0, kMib);
    ASSERT_TRUE(eventually([&] { return files_->held_writes() > 0; }));
    put_one(kParent, 2000);
    std::size_t left = 19 * kMib - 2000, i = 1;
    for (; left > kMib; left -= kMib) put_one(i++, kMib);
    put_one(i, left - 500);
    put_one(kLarge, 10 * kMib);
    EXPECT_EQ(!replaces && cache_->remove(key_of(kParent)), !replaces);
    put_one(kParent, 2000, {.replaces = replaces});
    let_writes_go_slowly();
    ASSERT_TRUE(eventually([&] { return cache_->disk_stats().queued_bytes < 20 * kMib - 5000; }));
    put_one(kChild, 1000, {.parent = key_of(kParent)});
    expect_written({kParent, kChild}, 512 * kMib, 20 * kMib);
  }
}

// The disk works again before a clear() ends, which reads slowly.
TEST_F(WriteBehindOrder, ADiskThatFailsDuringAClearLosesNoChain) {
  constexpr std::size_t kChain = 3000;
  start(256 * kMib, 64 * kMib);
  for (std::size_t i = 0; i < 50; ++i) put_one(100'000 + i, 300);
  ASSERT_TRUE(cache_->flush(5s));
  files_->hold_writes(true);
  for (std::size_t i = 0; i < kChain; ++i) put_one(i, 100, i > 0 ? PutOptions{.parent = key_of(i - 1)} : PutOptions());
  files_->hold_reads(true);
  std::thread clearing([&] {
    static_cast<void>(cache_->clear(Selection{.owner = 77, .older_than = 1h}));
    static_cast<void>(cache_->clear(Selection{.owner = 77, .older_than = 0ms}));
  });
  static_cast<void>(eventually([&] { return files_->held_reads() > 0; }, 2s));
  files_->fail_call(testing::FaultFiles::kWrite, 1, EIO, true);
  files_->hold_writes(false);
  EXPECT_TRUE(eventually([&] { return cache_->disk_stats().degraded; }));
  std::this_thread::sleep_for(1500ms);   // beyond the pause after which the disk is tried again
  files_->fail_nothing();
  files_->hold_reads(false);
  clearing.join();
  EXPECT_TRUE(eventually([&] { return !cache_->disk_stats().degraded && cache_->disk_stats().pending_bytes == 0; }, 30s));
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
  start(256 * kMib, 64 * kMib);
  std::size_t found = 0;
  for (std::size_t i = 0; i < kChain; ++i) found += cache_->contains(key_of(i));
  EXPECT_EQ(found, kChain);
}

// Puts while the disk fails and heals, again and again: each waits, whatever it meets.
TEST_F(WriteBehindOrder, APutAtTheMomentTheDiskFailsWaits) {
  start(256 * kMib, 64 * kMib);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  std::atomic<std::size_t> next{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const std::size_t i = next++;
        static_cast<void>(cache_->put(key_of(i), value_of(i, 200)));
        if (i > 60'000) return;   // fewer than may wait
      }
    });
  }
  for (int round = 0; round < 3; ++round) {
    files_->fail_call(testing::FaultFiles::kWrite, 1, EIO, true);
    static_cast<void>(eventually([&] { return cache_->disk_stats().degraded; }, 5s));
    files_->fail_nothing();
    static_cast<void>(eventually([&] { return !cache_->disk_stats().degraded; }, 10s));
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return cache_->disk_stats().pending_bytes == 0; }, 30s));
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
}

}   // namespace
}   // namespace tensorcache
