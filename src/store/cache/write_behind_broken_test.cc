// Write-behind to a disk that does not work for a while: values wait until it does.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>

#include "testing/store/write_behind.h"

namespace tensorcache {
namespace {

using namespace std::chrono_literals;
using testing::eventually, testing::FaultFiles, testing::key_of, testing::value_of;

class WriteBehindBroken : public testing::WriteBehind {
 protected:
  // Of the values some are queued when the disk fails, others wait or are stored later.
  void fail_while_putting(bool chained = false) {
    start();
    files_->hold_writes(true);
    put(0, 50, chained);
    break_disk();
    put(50, kValues, chained);
  }
  void break_disk() {
    files_->fail_call(FaultFiles::kWrite | FaultFiles::kOpen, 1, EIO, true);
    files_->hold_writes(false);
    ASSERT_TRUE(eventually([&] { return cache_->disk_stats().degraded; }));
  }
  void break_disk_by_writing() {
    files_->hold_writes(true);
    put(0, 1);
    break_disk();
  }
  void repair_disk() {
    files_->fail_nothing();
    ASSERT_TRUE(eventually([&] { return !cache_->disk_stats().degraded && cache_->disk_stats().pending_bytes == 0; }));
  }
  template <class Call>
  static std::chrono::steady_clock::duration time_of(const Call& call) {
    const auto begin = std::chrono::steady_clock::now();
    call();
    return std::chrono::steady_clock::now() - begin;
  }
};

TEST_F(WriteBehindBroken, WhatWaitsIsWrittenWhenTheDiskWorksAgain) {
  for (const bool chained : {false, true}) {
    SCOPED_TRACE(chained);
    files_ = std::make_shared<FaultFiles>();
    fail_while_putting(chained);
    EXPECT_FALSE(cache_->flush(20s));
    EXPECT_EQ(waiting_bytes(), kValues * kValueBytes);
    repair_disk();
    EXPECT_EQ(cache_->disk_stats().entries, kValues);
    EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
    EXPECT_TRUE(cache_->flush(20s));
    EXPECT_EQ(values_after_restart(), kValues);
  }
}

TEST_F(WriteBehindBroken, AValueOfABrokenDiskIsServedAndMayBeEvicted) {
  start(1 << 20);
  break_disk_by_writing();
  put(1, 300);
  EXPECT_TRUE(holds(299, kValueBytes));
  EXPECT_FALSE(holds(1, kValueBytes));
  EXPECT_LE(cache_->stats().used_bytes, 1u << 20);
  repair_disk();
  EXPECT_GT(cache_->disk_stats().entries, 20u);
  EXPECT_GT(cache_->disk_stats().dropped_puts, 0u) << "what was evicted is lost";
  EXPECT_EQ(cache_->disk_stats().entries + cache_->disk_stats().dropped_puts, 300u);
  EXPECT_FALSE(cache_->flush(20s));
  EXPECT_TRUE(cache_->flush(20s)) << "it was said already";
}

TEST_F(WriteBehindBroken, AFlushReturnsFalseAtOnce) {
  fail_while_putting();
  bool flushed = true;
  EXPECT_LT(time_of([&] { flushed = cache_->flush(120s); }), 60s);
  EXPECT_FALSE(flushed);
  std::atomic<int> answer{-1};
  cache_->when_flushed([&](bool written) { answer = written ? 1 : 0; });
  ASSERT_TRUE(eventually([&] { return answer >= 0; }));
  EXPECT_EQ(answer, 0);
  repair_disk();
}

TEST_F(WriteBehindBroken, ItIsClosedAtOnce) {
  fail_while_putting();
  EXPECT_LT(time_of([&] { static_cast<void>(cache_->close(120s)); }), 30s);
  EXPECT_TRUE(holds(99, kValueBytes)) << "memory goes on";
}

TEST_F(WriteBehindBroken, WhatIsRemovedMeanwhileIsNotWritten) {
  fail_while_putting(true);
  EXPECT_TRUE(cache_->remove(key_of(60)));
  EXPECT_EQ(waiting_bytes(), 60 * kValueBytes);
  repair_disk();
  EXPECT_EQ(cache_->disk_stats().entries, 60u);
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_EQ(values_after_restart(), 60u);
}

TEST_F(WriteBehindBroken, WhatIsReplacedMeanwhileIsWrittenAsItIsNow) {
  fail_while_putting();
  for (std::size_t i = 0; i < kValues; ++i) {
    ASSERT_EQ(cache_->put(key_of(i), value_of(i + 1000, kValueBytes), {.replaces = true}), PutStatus::kStored);
  }
  repair_disk();
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
  cache_.reset();
  start();
  for (std::size_t i = 0; i < kValues; ++i) EXPECT_EQ(cache_->get(key_of(i)).text(), value_of(i + 1000, kValueBytes)) << i;
}

TEST_F(WriteBehindBroken, AValueThatTheQueueCanNeverHoldDoesNotWait) {
  start();
  break_disk_by_writing();
  const std::uint64_t waiting = waiting_bytes();
  ASSERT_EQ(cache_->put(key_of(7), value_of(7, 2 * kQueueBytes)), PutStatus::kStored);
  EXPECT_EQ(waiting_bytes(), waiting);
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 1u);
  repair_disk();
}

TEST_F(WriteBehindBroken, TheNumberOfWaitingValuesIsBounded) {
  constexpr std::size_t kMost = 65'536, kMore = 1000;
  start(64 << 20);
  break_disk_by_writing();
  for (std::size_t i = 1; i < kMost + kMore; ++i) ASSERT_EQ(cache_->put(key_of(i), "x"), PutStatus::kStored);
  EXPECT_EQ(cache_->disk_stats().dropped_puts, kMore);
  EXPECT_EQ(waiting_bytes(), kValueBytes + kMost - 1);
  repair_disk();
  EXPECT_EQ(cache_->disk_stats().entries, kMost);
}

TEST_F(WriteBehindBroken, WhatWasEvictedMakesRoomForNewerValues) {
  constexpr std::size_t kStored = 150'000;   // more than may wait, and than fit
  start(8 << 20);
  break_disk_by_writing();
  for (std::size_t i = 1; i < kStored; ++i) ASSERT_EQ(cache_->put(key_of(i), "x"), PutStatus::kStored);
  repair_disk();
  cache_.reset();
  start();
  EXPECT_TRUE(cache_->contains(key_of(kStored - 1)));
  EXPECT_FALSE(cache_->contains(key_of(1)));
}

}   // namespace
}   // namespace tensorcache
