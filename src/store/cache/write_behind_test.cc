// Write-behind beyond the queue of the disk tier: what does not fit waits in memory.
#include <gtest/gtest.h>

#include <cerrno>

#include "testing/store/write_behind.h"

namespace tensorcache {
namespace {

using namespace std::chrono_literals;
using testing::eventually, testing::key_of, testing::value_of;

class WriteBehindTest : public testing::WriteBehind {};

TEST_F(WriteBehindTest, WhatDoesNotFitTheQueueIsWrittenLaterWithoutAnotherCall) {
  start();
  put_all();
  EXPECT_GT(cache_->disk_stats().pending_bytes, kQueueBytes) << "the test was to be faster than the disk";
  EXPECT_LE(cache_->disk_stats().queued_bytes, kQueueBytes);
  ASSERT_TRUE(eventually([&] { return cache_->disk_stats().pending_bytes == 0; }));
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
  EXPECT_EQ(cache_->disk_stats().entries, kValues);
  EXPECT_EQ(values_after_restart(), kValues);
}

TEST_F(WriteBehindTest, FlushWaitsForIt) {
  start();
  put_all();
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->disk_stats().entries, kValues);
}

TEST_F(WriteBehindTest, WhenFlushedWaitsForIt) {
  start();
  put_all();
  std::atomic<int> answer{-1};
  std::atomic<std::uint64_t> entries{0};
  cache_->when_flushed([&](bool written) {
    entries = cache_->disk_stats().entries;
    answer = written ? 1 : 0;
  });
  ASSERT_TRUE(eventually([&] { return answer >= 0; }));
  EXPECT_EQ(answer, 1);
  EXPECT_EQ(entries, kValues);
}

TEST_F(WriteBehindTest, ClosingWritesIt) {
  start();
  put_all();
  EXPECT_EQ(values_after_restart(), kValues);
}

TEST_F(WriteBehindTest, OfAChainEachValueFollowsItsParent) {
  start();
  put_all(kValues, true);
  ASSERT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
  EXPECT_EQ(values_after_restart(), kValues);
}

TEST_F(WriteBehindTest, ARemovedValueIsNotWritten) {
  start();
  put_all();
  for (std::size_t i = 1; i < kValues; i += 2) EXPECT_TRUE(cache_->remove(key_of(i)));
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
  EXPECT_EQ(values_after_restart(), kValues / 2);
}

TEST_F(WriteBehindTest, AReplacedValueIsWrittenAsItIsNow) {
  start();
  put_all();
  for (std::size_t i = 0; i < kValues; ++i) {
    ASSERT_EQ(cache_->put(key_of(i), value_of(i + 1000, kValueBytes), {.replaces = true}), PutStatus::kStored);
  }
  EXPECT_TRUE(cache_->flush(20s));
  cache_.reset();
  files_->set_write_delay(0ms);
  start();
  for (std::size_t i = 0; i < kValues; ++i) EXPECT_EQ(cache_->get(key_of(i)).text(), value_of(i + 1000, kValueBytes));
}

TEST_F(WriteBehindTest, ClearForgetsWhatWaits) {
  start();
  put_all();
  cache_->clear(Selection{});
  EXPECT_EQ(cache_->disk_stats().pending_bytes - cache_->disk_stats().queued_bytes, 0u);
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_EQ(values_after_restart(), 0u);
}

TEST_F(WriteBehindTest, WhatMemoryEvictsFirstIsCountedAndSaidOnce) {
  start(1 << 20);
  put_all(600);   // 6 MB through 1 MiB
  EXPECT_FALSE(cache_->flush(20s));
  EXPECT_GT(cache_->disk_stats().dropped_puts, 0u);
  EXPECT_EQ(cache_->disk_stats().pending_bytes, 0u);
  EXPECT_EQ(events_about_slowness(), 1u);
  EXPECT_TRUE(cache_->flush(20s)) << "it was said already";
}

TEST_F(WriteBehindTest, ADiskThatFailsMeanwhileIsNotWaitedFor) {
  start();
  put_all();
  files_->fail_call(testing::FaultFiles::kWrite, 1, EIO, true);
  EXPECT_FALSE(cache_->flush(20s));
  EXPECT_GT(waiting_bytes(), 0u);
  for (std::size_t i = 0; i < kValues; ++i) EXPECT_TRUE(holds(i, kValueBytes));
  files_->fail_nothing();
}

TEST_F(WriteBehindTest, ByDefaultHalfOfTheMemoryMayWait) {
  start(4 << 20, 0);
  put_all();   // 1 MB
  EXPECT_EQ(cache_->disk_stats().pending_bytes, cache_->disk_stats().queued_bytes);
  EXPECT_TRUE(cache_->flush(20s));
}

// The queue has room for the child, but not for its parent.
TEST_F(WriteBehindTest, ASmallChildDoesNotOvertakeItsWaitingParent) {
  start();
  files_->set_write_delay(20ms);
  for (std::size_t i = 0; i < 9; ++i) ASSERT_EQ(cache_->put(key_of(1000 + i), value_of(i, kValueBytes), {}), PutStatus::kStored);
  for (std::size_t i = 0; i < 20; i += 2) {
    ASSERT_EQ(cache_->put(key_of(i), value_of(i, 2 * kValueBytes), {}), PutStatus::kStored);
    ASSERT_EQ(cache_->put(key_of(i + 1), value_of(i + 1, 10), {.parent = key_of(i)}), PutStatus::kStored);
  }
  EXPECT_TRUE(cache_->flush(20s));
  EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
  cache_.reset();
  files_->set_write_delay(0ms);
  start();
  for (std::size_t i = 0; i < 20; i += 2) {
    EXPECT_TRUE(holds(i, 2 * kValueBytes)) << i;
    EXPECT_TRUE(holds(i + 1, 10)) << i + 1;
  }
}

TEST_F(WriteBehindTest, AValueThatIsReplacedWhileItsOldOneIsQueuedIsWritten) {
  start();
  files_->set_write_delay(20ms);
  for (std::size_t i = 0; i < 30; ++i) {
    ASSERT_EQ(cache_->put(key_of(i), value_of(i, kValueBytes), {}), PutStatus::kStored);
    ASSERT_EQ(cache_->put(key_of(i), value_of(i + 1000, kValueBytes), {.replaces = true}), PutStatus::kStored);
  }
  EXPECT_TRUE(cache_->flush(20s));
  cache_.reset();
  files_->set_write_delay(0ms);
  start();
  for (std::size_t i = 0; i < 30; ++i) EXPECT_EQ(cache_->get(key_of(i)).text(), value_of(i + 1000, kValueBytes)) << i;
}

// One value that cannot be written is no reason to leave the others.
TEST_F(WriteBehindTest, AFailedWriteDoesNotStopTheOthers) {
  start();
  files_->set_write_delay(5ms);
  files_->fail_call(testing::FaultFiles::kWrite, 3, EIO);
  put_all();
  EXPECT_TRUE(eventually([&] { return cache_->disk_stats().pending_bytes == 0; }));
}

TEST_F(WriteBehindTest, AfterCloseAFlushReturnsAtOnce) {
  start();
  put_all(600);
  static_cast<void>(cache_->close(0ms));
  const auto begin = std::chrono::steady_clock::now();
  static_cast<void>(cache_->flush(60s));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
  EXPECT_EQ(cache_->stats().puts, 600u) << "memory goes on";
}

}   // namespace
}   // namespace tensorcache
