#include "store/disk/health.h"

#include <gtest/gtest.h>

namespace tensorcache::disk {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Health, TheFirstFailureIsNewsAndTheLastReasonCounts) {
  Health health(milliseconds(100));
  EXPECT_FALSE(health.broken());
  EXPECT_TRUE(health.fail("full", {}));
  EXPECT_FALSE(health.fail("gone", {}));
  EXPECT_TRUE(health.broken());
  EXPECT_EQ(health.reason(), "gone");
  health.heal();
  EXPECT_FALSE(health.broken());
  EXPECT_EQ(health.reason(), "");
  EXPECT_TRUE(health.fail("full", {}));
}

TEST(Health, ThePauseDoublesUpToAMinuteUntilAWrite) {
  const Health::Time now{seconds(1000)};
  Health health(seconds(1));
  for (const int pause_s : {1, 2, 4, 8, 16, 32, 60, 60}) {
    health.fail("full", now);
    EXPECT_EQ(health.retry_at(), now + seconds(pause_s));
  }
  health.heal();   // it may work for nothing but the first attempt
  health.fail("full", now);
  EXPECT_EQ(health.retry_at(), now + seconds(60));
  health.wrote();
  health.fail("full", now);
  EXPECT_EQ(health.retry_at(), now + seconds(1));
}

TEST(Health, ALongerPauseThanAMinuteIsKept) {
  Health health(seconds(90));
  health.fail("full", Health::Time{});
  health.fail("full", Health::Time{});
  EXPECT_EQ(health.retry_at(), Health::Time{} + seconds(90));
}

TEST(Health, AFailureWithoutAReasonKeepsTheLastOne) {
  Health health(seconds(1));
  health.fail("full", {});
  health.fail(Health::Time{seconds(5)});
  EXPECT_EQ(health.reason(), "full");
  EXPECT_EQ(health.retry_at(), Health::Time{} + seconds(6));
}

}   // namespace
}   // namespace tensorcache::disk
