// Memory runs out at each allocation in turn while values wait to be written, or a write fails.
// Afterwards nothing is stuck, and what is in memory is written.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <future>

#include "store/cache/tier_stack.h"
#include "store/policy/policy.h"
#include "testing/core/failing_allocations.h"
#include "testing/store/cache.h"
#include "testing/store/disk.h"

namespace tensorcache::cache {
namespace {

using namespace std::chrono_literals;
using testing::eventually, testing::FaultFiles, testing::key_of, testing::value_of;

constexpr std::size_t kValueBytes = 30'000, kQueueBytes = 100'000, kValues = 12, kQueued = 3;

// A disk whose pause after a failure, which a failed allocation is, is short.
class WriteBehindAllocation : public ::testing::Test {
 protected:
  ~WriteBehindAllocation() override { stop(); }
  void stop() {
    if (stack_) static_cast<void>(stack_->close(20s));
    stack_.reset();
  }
  void start() {
    is_test_thread = true;
    memory_ = memory::MemoryTier::make(16 << 20, policy::make_policy("lru"), clock_.function());
    disk::DiskTierOptions options;
    options.directory = "cache";
    options.queue_bytes = kQueueBytes;
    options.retry_pause = retry_pause_;
    options.files = files_;
    options.unix_ms = clock_.unix_ms();
    auto tier = std::make_unique<disk::DiskTier>(std::move(options));
    disk_ = tier.get();
    LowerTiers lower;
    lower.push_back(std::move(tier));
    stack_ = std::make_unique<TierStack>(memory_, std::move(lower), clock_.unix_ms());
    ASSERT_TRUE(disk_->wait_ready(20s));
  }
  void start_afresh() {
    stop();
    files_ = std::make_shared<FaultFiles>();
    start();
  }
  void put(std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) ASSERT_EQ(put(i), PutStatus::kStored) << i;
  }
  PutStatus put(std::size_t i) {
    PutOptions options;
    if (chained_ && i > 0) options.parent = key_of(i - 1);
    return stack_->put(key_of(i), std::as_bytes(std::span(values_[i])), options);
  }
  [[nodiscard]] bool is_idle() const { return stack_->transfer_stats().waiting_bytes == 0 && disk_->stats().queued_bytes == 0; }
  [[nodiscard]] std::string get(std::size_t i) {
    const Handle handle = stack_->look_up(key_of(i), Tiers::kAll, memory::MemoryTier::Count::kNo).value;
    return std::string(handle.text());
  }
  // What memory holds is on disk. A failed allocation may have made one flush false.
  void expect_all_written(std::size_t values) {
    ASSERT_TRUE(eventually([&] { return is_idle(); })) << "something is stuck";
    static_cast<void>(stack_->flush(20s));
    EXPECT_TRUE(stack_->flush(20s));
    stop();
    start();
    for (std::size_t i = 0; i < values; ++i) EXPECT_EQ(get(i), values_[i]) << i;
  }

  bool chained_ = false;
  std::chrono::milliseconds retry_pause_ = 1ms;
  std::shared_ptr<FaultFiles> files_ = std::make_shared<FaultFiles>();
  testing::FakeClock clock_;
  std::shared_ptr<memory::MemoryTier> memory_;
  disk::DiskTier* disk_ = nullptr;
  std::unique_ptr<TierStack> stack_;
  const std::vector<std::string> values_ = [] {
    std::vector<std::string> values;
    for (std::size_t i = 0; i < kValues; ++i) values.push_back(value_of(i, kValueBytes));
    return values;
  }();
};

TEST_F(WriteBehindAllocation, OfAPutThatWaits) {
  int failures = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 1000);
    SCOPED_TRACE(allowed);
    start_afresh();
    files_->hold_writes(true);
    put(0, kQueued);
    const bool failed = runs_out(allowed, [&] { static_cast<void>(put(kQueued)); });
    put(kQueued + 1, kValues);   // memory is there again
    files_->hold_writes(false);
    ASSERT_TRUE(eventually([&] { return is_idle(); })) << "something is stuck";
    const bool stored = memory_->contains(key_of(kQueued));
    if (stored && !disk_->contains(key_of(kQueued))) {
      EXPECT_FALSE(stack_->flush(20s)) << "it is in memory only";
    }
    EXPECT_TRUE(stack_->flush(20s));
    for (std::size_t i = 0; i < kValues; ++i) EXPECT_TRUE(i == kQueued || disk_->contains(key_of(i))) << i;
    failures += failed ? 1 : 0;
    if (!failed || HasFailure()) break;
  }
  EXPECT_GT(failures, 3);
}

class WriteBehindAllocationOfChain : public WriteBehindAllocation, public ::testing::WithParamInterface<bool> {};

TEST_P(WriteBehindAllocationOfChain, OfTheThreadThatWritesWhatWaits) {
  chained_ = GetParam();
  int failures = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 10'000);
    SCOPED_TRACE(allowed);
    start_afresh();
    files_->hold_writes(true);
    put(0, kValues);
    others_allocations_left = allowed;
    files_->hold_writes(false);
    ASSERT_TRUE(eventually([&] { return is_idle() || others_allocations_left < 0; }));
    const bool failed = others_allocations_left.exchange(-1) < 0;
    failures += failed ? 1 : 0;
    ASSERT_NO_FATAL_FAILURE(expect_all_written(kValues));
    if (!failed || HasFailure()) break;
  }
  EXPECT_GT(failures, 50);
}

INSTANTIATE_TEST_SUITE_P(Chained, WriteBehindAllocationOfChain, ::testing::Bool());

TEST_F(WriteBehindAllocation, OfTheThreadThatAnswersAFlush) {
  int failures = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 10'000);
    SCOPED_TRACE(allowed);
    start_afresh();
    files_->hold_writes(true);
    put(0, kValues);
    std::atomic<int> answer{-1};
    std::uint64_t entries = 0;
    stack_->when_flushed([&](bool written) {
      entries = disk_->stats().entries;
      answer = written ? 1 : 0;
    });
    others_allocations_left = allowed;
    files_->hold_writes(false);
    ASSERT_TRUE(eventually([&] { return answer >= 0; })) << "it was never answered";
    const bool failed = others_allocations_left.exchange(-1) < 0;
    EXPECT_TRUE(answer == 0 || entries == kValues) << "true too early";
    failures += failed ? 1 : 0;
    ASSERT_NO_FATAL_FAILURE(expect_all_written(kValues));
    if (!failed || HasFailure()) break;
  }
  EXPECT_GT(failures, 50);
}

// The disk is tried again before the values behind the failed one, and the question, are reached.
TEST_P(WriteBehindAllocationOfChain, AFlushIsNotTrueBeforeWhatAFailedWriteHandedBackIsWritten) {
  chained_ = GetParam();
  retry_pause_ = 0ms;
  for (int round = 0; round < 10; ++round) {
    start_afresh();
    files_->hold_writes(true);
    put(0, 1);
    ASSERT_TRUE(eventually([&] { return files_->held_writes() > 0; }));
    put(1, kQueued);
    std::atomic<int> answer{-1};
    std::uint64_t entries = 0;
    stack_->when_flushed([&](bool written) {
      entries = disk_->stats().entries;
      answer = written ? 1 : 0;
    });
    std::future<bool> all_there = std::async(std::launch::async, [&] { return !stack_->flush(20s) || disk_->stats().entries == kQueued; });
    files_->fail_call(FaultFiles::kWrite, 1, EIO);
    files_->hold_writes(false);
    EXPECT_TRUE(all_there.get());
    ASSERT_TRUE(eventually([&] { return answer >= 0; }));
    EXPECT_TRUE(answer == 0 || entries == kQueued) << "true too early";
    ASSERT_TRUE(eventually([&] { return is_idle(); }));
    EXPECT_EQ(disk_->stats().entries, kQueued);
    EXPECT_EQ(disk_->stats().dropped_puts, 0u);
    EXPECT_TRUE(stack_->flush(20s));
  }
}

// It removes the value, or changes nothing.
TEST_F(WriteBehindAllocation, OfARemoval) {
  int threw = 0;
  for (const std::size_t removed : {std::size_t{0}, kValues - 1}) {   // queued; waiting
    for (long allowed = 0;; ++allowed) {
      ASSERT_LT(allowed, 1000);
      SCOPED_TRACE(allowed);
      start_afresh();
      files_->hold_writes(true);
      put(0, kValues);
      bool failed = false;
      allocations_left = allowed;
      try {
        EXPECT_TRUE(stack_->remove(key_of(removed)));
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      allocations_left = -1;
      files_->hold_writes(false);
      EXPECT_TRUE(stack_->flush(20s));
      EXPECT_EQ(stack_->transfer_stats().lost_writes + disk_->stats().dropped_puts, 0u);
      for (int restarts = 0; restarts < 2; ++restarts) {
        for (std::size_t i = 0; i < kValues; ++i) EXPECT_EQ(get(i), i == removed && !failed ? "" : values_[i]) << i;
        stop();
        start();
      }
      threw += failed ? 1 : 0;
      if (!failed || HasFailure()) break;
    }
  }
  EXPECT_GT(threw, 0);
}

}   // namespace
}   // namespace tensorcache::cache
