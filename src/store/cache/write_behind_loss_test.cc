// Which values that wait to be written count as lost, and when a flush is true.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>

#include "testing/store/write_behind.h"

namespace tensorcache {
namespace {

using namespace std::chrono_literals;
using testing::eventually, testing::key_of, testing::value_of;

class WriteBehindLoss : public testing::WriteBehind {
 protected:
  void expect_nothing_lost() {
    files_->hold_writes(false);
    EXPECT_TRUE(cache_->flush(20s));
    EXPECT_EQ(cache_->disk_stats().dropped_puts, 0u);
    EXPECT_EQ(cache_->disk_stats().pending_bytes, 0u);
  }
};

// Of the chain the first ten values are queued, the others wait.
TEST_F(WriteBehindLoss, ARemovedChainIsNone) {
  start();
  files_->hold_writes(true);
  put(0, 50, true);
  EXPECT_GT(waiting_bytes(), 0u);
  EXPECT_TRUE(cache_->remove(key_of(0)));
  EXPECT_EQ(waiting_bytes(), 0u);
  expect_nothing_lost();
  EXPECT_EQ(values_after_restart(), 0u);
}

TEST_F(WriteBehindLoss, AChainWhoseRootIsOnDiskAlreadyIsNone) {
  start();
  put(0, 2, true);
  ASSERT_TRUE(cache_->flush(20s));
  files_->hold_writes(true);
  put(2, 50, true);
  EXPECT_TRUE(cache_->remove(key_of(0)));
  EXPECT_EQ(waiting_bytes(), 0u);
  expect_nothing_lost();
  EXPECT_EQ(values_after_restart(), 0u);
}

TEST_F(WriteBehindLoss, TheEndOfAChainThatIsRemovedIsNone) {
  start();
  files_->hold_writes(true);
  put(0, 50, true);
  EXPECT_TRUE(cache_->remove(key_of(30)));
  expect_nothing_lost();
  EXPECT_EQ(values_after_restart(), 30u);
}

TEST_F(WriteBehindLoss, AChainThatIsStoredAgainAfterItsRemovalIsWritten) {
  start();
  files_->hold_writes(true);
  put(0, 50, true);
  EXPECT_TRUE(cache_->remove(key_of(0)));
  put(0, 50, true);
  expect_nothing_lost();
  EXPECT_EQ(values_after_restart(), 50u);
}

TEST_F(WriteBehindLoss, AnExpiredValueIsNone) {
  start();
  files_->hold_writes(true);
  put(0, 50, false, {.time_to_live = 1s});
  clock_.advance(1s);
  expect_nothing_lost();
  EXPECT_EQ(values_after_restart(), 0u);
}

TEST_F(WriteBehindLoss, AnExpiredChainIsNone) {
  start();
  files_->hold_writes(true);
  put(0, 1, false, {.time_to_live = 1s});
  put(1, 50, true);
  clock_.advance(1s);
  EXPECT_FALSE(cache_->get(key_of(0)));
  EXPECT_FALSE(cache_->get(key_of(49)));
  expect_nothing_lost();
}

TEST_F(WriteBehindLoss, AValueStoredOverAnExpiredOneThatWaitsIsWritten) {
  start();
  files_->hold_writes(true);
  put(0, 50, false, {.time_to_live = 1s});
  clock_.advance(1s);
  put(0, 50);
  expect_nothing_lost();
  EXPECT_EQ(values_after_restart(), 50u);
}

// Removals must not hide what memory evicted before it was written.
TEST_F(WriteBehindLoss, AnEvictedValueIsOneAlthoughOthersAreDeleted) {
  start(1 << 20);
  files_->hold_writes(true);
  put(0, 200, false, {.owner = 1});
  EXPECT_FALSE(cache_->contains(key_of(50), Tiers::kMemoryOnly));
  cache_->clear(2);
  EXPECT_EQ(cache_->put(key_of(1000), "root"), PutStatus::kStored);
  EXPECT_EQ(cache_->put(key_of(1001), "child", {.parent = key_of(1000)}), PutStatus::kStored);
  EXPECT_TRUE(cache_->remove(key_of(1000)));
  files_->hold_writes(false);
  EXPECT_FALSE(cache_->flush(20s));
  EXPECT_EQ(cache_->disk_stats().dropped_puts + cache_->disk_stats().entries, 200u);
}

TEST_F(WriteBehindLoss, NothingThatIsDeletedWhileItIsWrittenIsOne) {
  for (int round = 0; round < 20; ++round) {
    files_ = std::make_shared<testing::FaultFiles>();
    start();
    put_all(kValues, true);
    files_->set_write_delay(0ms);
    ASSERT_TRUE(eventually([&] { return cache_->disk_stats().entries > 0; }));
    round % 2 == 0 ? static_cast<void>(cache_->remove(key_of(0))) : static_cast<void>(cache_->clear());
    ASSERT_TRUE(cache_->flush(20s)) << round;
    ASSERT_EQ(cache_->disk_stats().dropped_puts, 0u) << round;
  }
}

class WriteBehindFlush : public WriteBehindLoss {
 protected:
  void ask() {
    cache_->when_flushed([this](bool written) {
      entries_ = cache_->disk_stats().entries;
      answer_ = written ? 1 : 0;
    });
  }
  std::atomic<int> answer_{-1};
  std::atomic<std::uint64_t> entries_{0};   // on disk when it was answered
};

TEST_F(WriteBehindFlush, IsNotTrueWhileValuesAreQueuedOrWait) {
  start();
  for (const std::size_t values : {1u, 50u}) {   // queued; more than the queue takes
    answer_ = -1;
    files_->hold_writes(true);
    put(values, 2 * values);
    ask();
    ASSERT_TRUE(eventually([&] { return files_->held_writes() > 0; }));
    EXPECT_EQ(answer_, -1);
    EXPECT_FALSE(cache_->flush(0ms));
    files_->hold_writes(false);
    ASSERT_TRUE(eventually([&] { return answer_ >= 0; }));
    EXPECT_EQ(answer_, 1);
    EXPECT_EQ(entries_, values == 1 ? 1u : 51u);
  }
}

TEST_F(WriteBehindFlush, IsNotTrueBeforeWhatReplacedAValueIsWritten) {
  start();
  put(0, 50);
  ASSERT_TRUE(cache_->flush(20s));
  files_->hold_writes(true);
  for (std::size_t i = 0; i < 50; ++i) {
    ASSERT_EQ(cache_->put(key_of(i), value_of(i + 1000, kValueBytes), {.replaces = true}), PutStatus::kStored);
  }
  ask();
  EXPECT_EQ(answer_, -1);
  files_->hold_writes(false);
  ASSERT_TRUE(eventually([&] { return answer_ >= 0; }));
  EXPECT_EQ(answer_, 1);
  EXPECT_EQ(entries_, 50u);
  cache_.reset();
  start();
  for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(cache_->get(key_of(i)).text(), value_of(i + 1000, kValueBytes)) << i;
}

// The wall clock is asked while a waiting value is being queued.
TEST_F(WriteBehindFlush, IsNotTrueWhileTheDisksThreadQueuesAWaitingValue) {
  std::atomic<bool> armed{false}, inside{false}, go{false};
  const auto test_thread = std::this_thread::get_id();
  CacheOptions options;
  options.disk = DiskOptions{.directory = "cache", .queue_bytes = kQueueBytes, .on_event = {}, .file_system = files_, .unix_ms = [&] {
                               if (armed && std::this_thread::get_id() != test_thread && !inside.exchange(true)) {
                                 while (!go) std::this_thread::yield();
                               }
                               return std::int64_t{1'700'000'000'000};
                             }};
  cache_ = std::make_unique<Cache>(std::move(options));
  ASSERT_TRUE(eventually([&] { return cache_->disk_stats().ready; }));
  files_->hold_writes(true);
  ASSERT_EQ(cache_->put(key_of(0), value_of(0, 60'000)), PutStatus::kStored);
  ASSERT_EQ(cache_->put(key_of(1), value_of(1, 60'000)), PutStatus::kStored);
  ASSERT_TRUE(eventually([&] { return files_->held_writes() > 0; }));
  armed = true;
  files_->hold_writes(false);
  ASSERT_TRUE(eventually([&] { return inside.load(); }));
  ask();
  EXPECT_EQ(answer_, -1);
  go = true;
  ASSERT_TRUE(eventually([&] { return answer_ >= 0; }));
  EXPECT_EQ(answer_, 1);
  EXPECT_EQ(entries_, 2u);
  cache_.reset();   // before its clock
}

TEST_F(WriteBehindFlush, IsNotTrueAfterAWriteThatFailed) {
  start();
  files_->hold_writes(true);
  put(0, 50);
  ask();
  files_->fail_call(testing::FaultFiles::kWrite, 1, EIO);
  files_->hold_writes(false);
  ASSERT_TRUE(eventually([&] { return answer_ >= 0; }));
  EXPECT_TRUE(answer_ == 0 || entries_ == 50u);
  ASSERT_TRUE(eventually([&] { return cache_->disk_stats().pending_bytes == 0; }));
}

}   // namespace
}   // namespace tensorcache
