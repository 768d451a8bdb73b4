// Closing: what was removed or replaced does not come back at the next start, and closing ends in
// bounded time.
#include <cerrno>
#include <chrono>

#include "testing/store/disk.h"
#include "store/disk/directory_scan.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

using std::chrono::milliseconds;
using std::chrono::seconds;

class Stopwatch {
 public:
  [[nodiscard]] milliseconds passed() const { return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin_); }

 private:
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

void fill(testing::TestTier& tier, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
}

TEST(DiskClose, WritesWhatWaits) {
  testing::TestTier tier;
  fill(tier, 5);
  ASSERT_TRUE(tier.put(10, 1000));
  EXPECT_TRUE(tier->remove(key_of(3)));
  EXPECT_TRUE(tier->close(seconds(20)));
  EXPECT_TRUE(tier->close(seconds(20))) << "the same answer again";
  EXPECT_FALSE(tier.put(11, 1000)) << "closed";
  EXPECT_FALSE(tier.flush());
  tier.restart();
  for (const std::uint64_t i : {0, 1, 2, 4, 10}) EXPECT_TRUE(tier.has(i)) << i;
  EXPECT_FALSE(tier.has(3));
}

// A disk that neither writes nor opens, and one whose removals fail as well but which makes files.
class Broken : public ::testing::TestWithParam<unsigned> {};

TEST_P(Broken, RemovedValuesStayRemovedAndItDoesNotWait) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.retry_pause = seconds(60); });
  fill(tier, 40);
  files->fail_call(GetParam(), 1, EIO, true);
  ASSERT_TRUE(tier.put(100, 10));   // notices
  EXPECT_FALSE(tier.flush());
  EXPECT_TRUE(tier->stats().degraded);
  EXPECT_TRUE(tier->remove(key_of(3)));
  const Stopwatch watch;
  EXPECT_TRUE(tier->close(seconds(30)));
  EXPECT_LT(watch.passed(), seconds(10)) << "there is nothing to wait for";
  tier.stop();
  files->fail_nothing();
  DirectoryScan found;
  ASSERT_EQ(scan_directory(*files, "cache", &found), 0);
  EXPECT_FALSE(found.entries.contains(key_of(3))) << "a scan sees what a start would serve";
  tier.start();
  EXPECT_FALSE(tier.has(3));
  EXPECT_FALSE(files->exists("cache/stale"));
  ASSERT_TRUE(tier.put(3, 100));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  EXPECT_TRUE(tier.has(3)) << "a mark is for one start";
}

INSTANTIATE_TEST_SUITE_P(Calls, Broken,
                         ::testing::Values(testing::FaultFiles::kWrite, testing::FaultFiles::kWrite | testing::FaultFiles::kOpen,
                                           testing::FaultFiles::kWrite | testing::FaultFiles::kNames));

TEST(DiskClose, OnlySegmentsThatHoldWhatWasRemovedAreDropped) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  fill(tier, 40);
  files->fail_call(testing::FaultFiles::kWrite, 1, EIO, true);
  EXPECT_TRUE(tier->remove(key_of(3)));
  EXPECT_TRUE(tier->close(seconds(20)));
  tier.stop();
  files->fail_nothing();
  tier.start();
  EXPECT_FALSE(tier.has(3));
  EXPECT_TRUE(tier.has(39));
}

TEST(DiskClose, ADiskThatTakesNothingIsSaid) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  fill(tier, 5);
  files->fail_call(testing::FaultFiles::kWrite | testing::FaultFiles::kNames | testing::FaultFiles::kOpen | testing::FaultFiles::kSync, 1, EROFS,
                   true);
  EXPECT_TRUE(tier->remove(key_of(3)));
  EXPECT_FALSE(tier->close(seconds(20)));
  ASSERT_FALSE(tier.events().empty());
  EXPECT_NE(tier.events().back().find("may be served after the next start"), std::string::npos) << tier.events().back();
}

TEST(DiskClose, ABrokenDiskWithNothingRemovedLosesNothing) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  fill(tier, 20);
  files->fail_call(testing::FaultFiles::kAny, 1, EIO, true);
  static_cast<void>(tier.put(100, 10));
  static_cast<void>(tier.flush());
  EXPECT_TRUE(tier->close(seconds(20)));
  tier.stop();
  files->fail_nothing();
  tier.start();
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_TRUE(tier.has(i)) << i;
}

// Removals go before the values that wait, and these only until the time is over.
TEST(DiskClose, ASlowDiskBringsNothingBackAndTakesBoundedTime) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 64 << 20; });
  fill(tier, 5);
  files->set_write_delay(milliseconds(200));
  for (std::uint64_t i = 100; i < 300; ++i) ASSERT_TRUE(tier.put(i, 100'000));   // of which two fit a segment
  EXPECT_TRUE(tier->remove(key_of(3)));
  ASSERT_TRUE(tier.put(3, 500));
  const Stopwatch watch;
  EXPECT_TRUE(tier->close(milliseconds(1000)));
  EXPECT_LT(watch.passed(), seconds(10)) << "writing all takes a minute";
  tier.stop();
  files->set_write_delay(milliseconds(0));
  tier.start();
  EXPECT_NE(tier->bytes_of(std::vector<Key>{key_of(3)}), 20'000u) << "the replaced value";
}

TEST(DiskClose, WhatIsRemovedBeforeRecoveryIsDoneStaysRemoved) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.segment_bytes = 64 << 10; });
  fill(tier, 100);
  tier.stop();
  files->set_read_delay(milliseconds(20));   // of about 40 segments
  {
    DiskTier recovering(tier.options());
    recovering.remove(key_of(3));
    EXPECT_TRUE(recovering.close(milliseconds(200)));
  }
  files->set_read_delay(milliseconds(0));
  tier.start();
  EXPECT_FALSE(tier.has(3));
  EXPECT_TRUE(tier.has(99)) << "the others are not lost for it";
}

TEST(DiskClose, EachQuestionIsAnsweredThoughAnAnswerThrows) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) { options.segment_bytes = 64 << 10; });
  fill(tier, 60);
  tier.stop();
  files->set_read_delay(milliseconds(20));
  int answers = 0;
  {
    DiskTier recovering(tier.options());
    for (int i = 0; i < 3; ++i) {
      recovering.when_written([&](bool) {
        ++answers;
        throw std::bad_alloc();
      });
    }
    EXPECT_TRUE(recovering.close(milliseconds(0)));
  }
  EXPECT_EQ(answers, 3);
  files->set_read_delay(milliseconds(0));
  tier.start();
  EXPECT_TRUE(tier.has(59));
}

TEST(DiskClose, TheLongestTimesAreLong) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  files->set_write_delay(milliseconds(30));
  ASSERT_TRUE(tier.put(1, 1000));
  EXPECT_TRUE(tier->flush(milliseconds::max()));
  EXPECT_TRUE(tier->wait_ready(milliseconds::max()));
  EXPECT_TRUE(tier->wait_for_room(milliseconds::max()));
  ASSERT_TRUE(tier.put(2, 1000));
  EXPECT_TRUE(tier->close(milliseconds::max()));
  tier.restart();
  EXPECT_TRUE(tier.has(1) && tier.has(2));
}

}   // namespace
}   // namespace tensorcache::disk
