// Write-behind of urgent values: part of the queue is kept free for them.
#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "testing/store/write_behind.h"

namespace tensorcache {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using testing::key_of, testing::value_of;

class WriteBehindUrgent : public testing::WriteBehind {
 protected:
  static constexpr std::size_t kUrgent = 1'000;   // number of the first urgent value

  void put_urgent(std::size_t i) { ASSERT_EQ(cache_->put(key_of(i), value_of(i, kValueBytes), {.urgent = true}), PutStatus::kStored); }
  [[nodiscard]] steady_clock::duration time_of_urgent_put(std::size_t i) {
    const auto begin = steady_clock::now();
    put_urgent(i);
    return steady_clock::now() - begin;
  }
};

TEST_F(WriteBehindUrgent, OthersDoNotPushItOut) {
  start(1 << 20);
  files_->hold_writes(true);
  put(0, 20);
  EXPECT_GT(waiting_bytes(), 0u);
  put_urgent(kUrgent);
  put(20, 400);   // four times the memory
  files_->hold_writes(false);
  EXPECT_FALSE(cache_->flush(20s)) << "others were to be lost";
  EXPECT_GT(cache_->disk_stats().dropped_puts, 0u);
  EXPECT_TRUE(holds(kUrgent, kValueBytes));
  start(1 << 20);
  EXPECT_TRUE(holds(kUrgent, kValueBytes));
}

// The memory that its chain takes is the queue's anyway.
TEST_F(WriteBehindUrgent, ItsParentsAreUrgentToo) {
  start();
  files_->hold_writes(true);
  put(0, 10);   // fills the queue but for a byte or so
  ASSERT_EQ(cache_->put(key_of(500), value_of(500, 100), {}), PutStatus::kStored);
  ASSERT_EQ(cache_->put(key_of(kUrgent), value_of(kUrgent, 100), {.parent = key_of(500), .urgent = true}), PutStatus::kStored);
  EXPECT_EQ(cache_->disk_stats().queued_bytes, 10 * kValueBytes + 200);
  EXPECT_EQ(waiting_bytes(), 0u);
  files_->hold_writes(false);
  EXPECT_TRUE(cache_->flush(20s));
}

TEST_F(WriteBehindUrgent, WhereTheQueueIsFullItWaitsForRoom) {
  start();
  files_->hold_writes(true);
  put(0, 20);
  put_urgent(kUrgent);
  std::thread writes_again([&] {
    std::this_thread::sleep_for(100ms);
    files_->hold_writes(false);
  });
  EXPECT_GE(time_of_urgent_put(kUrgent + 1), 50ms);
  writes_again.join();
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
}

TEST_F(WriteBehindUrgent, ItWaitsASecondAtMostAndThenAsOthersDo) {
  start();
  files_->hold_writes(true);
  put(0, 20);
  put_urgent(kUrgent);
  const auto time = time_of_urgent_put(kUrgent + 1);
  EXPECT_GE(time, 900ms);
  EXPECT_LT(time, 10s);
  EXPECT_TRUE(holds(kUrgent + 1, kValueBytes));
  files_->hold_writes(false);
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
}

TEST_F(WriteBehindUrgent, ItDoesNotWaitForADiskThatDoesNotWork) {
  start();
  files_->fail_call(testing::FaultFiles::kWrite | testing::FaultFiles::kOpen, 1, EIO, true);
  put(0, 1);
  ASSERT_TRUE(testing::eventually([&] { return cache_->disk_stats().degraded; }));
  EXPECT_LT(time_of_urgent_put(kUrgent), 900ms);
  EXPECT_TRUE(holds(kUrgent, kValueBytes));
}

}   // namespace
}   // namespace tensorcache
