#include "store/sizing/memory_governor.h"

#include <gtest/gtest.h>

namespace tensorcache::sizing {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

class Governor : public ::testing::Test {
 protected:
  // A period of the machine. Returns the capacity after it.
  std::uint64_t period(std::uint64_t available, double pressure = 0) {
    capacity = governor.next(MemoryReading{.total_bytes = total, .available_bytes = available, .pressure = pressure}, capacity, used);
    used = std::min(used, capacity);
    return capacity;
  }
  MemoryGovernor governor{{.share = 0.5, .floor_bytes = kGiB / 16}};
  std::uint64_t total = 16 * kGiB, capacity = 4 * kGiB, used = 4 * kGiB;
};

TEST_F(Governor, BeginsWithItsShareOfWhatIsAvailable) {
  EXPECT_EQ(governor.first(MemoryReading{.total_bytes = total, .available_bytes = 10 * kGiB}), 5 * kGiB);
  EXPECT_EQ(governor.first(MemoryReading{.total_bytes = total, .available_bytes = 0}), kGiB / 16);
  EXPECT_EQ(governor.first(std::nullopt), kGiB / 16);
}

TEST_F(Governor, StaysWhereItsShareIsReached) {
  for (int i = 0; i < 100; ++i) EXPECT_EQ(period(4 * kGiB), 4 * kGiB) << "4 GiB in use and 4 GiB left: half";
  for (int i = 0; i < 100; ++i) EXPECT_EQ(period(4 * kGiB + (i % 2 ? kGiB / 4 : 0)), 4 * kGiB) << "little swings";
}

TEST_F(Governor, ShrinksWithinOnePeriodWhenOthersTakeMemory) { EXPECT_EQ(period(2 * kGiB), 3 * kGiB); }

TEST_F(Governor, ShrinksByMuchUnderPressureAndGoesOnUntilItEases) {
  EXPECT_LE(period(4 * kGiB, 0.2), 3 * kGiB);
  EXPECT_LE(period(5 * kGiB, 0.2), 3 * kGiB * 3 / 4);
  const std::uint64_t then = capacity;
  EXPECT_EQ(period(6 * kGiB, 0.01), then) << "a little is no pressure, and it does not grow back at once";
  for (int i = 0; i < 100; ++i) period(6 * kGiB, 0.5);
  EXPECT_EQ(capacity, kGiB / 16) << "the floor";
}

TEST_F(Governor, ACapacityThatIsNotUsedIsNotWhatItGivesBack) {
  used = 1 * kGiB;
  EXPECT_LE(period(7 * kGiB, 0.2), kGiB * 3 / 4);
}

TEST_F(Governor, WithoutPressureFromTheKernelScarcityIsPressure) {
  EXPECT_LE(period(total / 50), 3 * kGiB);
  EXPECT_LE(capacity, 4 * kGiB * 3 / 4);
}

TEST_F(Governor, GrowsSlowlyAndOnlyAfterACalm) {
  period(4 * kGiB, 0.2);
  const std::uint64_t low = capacity;
  int waited = 0;
  while (period(12 * kGiB) == low) ASSERT_LT(++waited, 60);
  EXPECT_GE(waited, 20) << "periods of calm";
  std::uint64_t before = low;
  int periods = 1;
  for (; capacity < 7 * kGiB; ++periods) {
    before = capacity;
    ASSERT_LE(period(12 * kGiB) - before, kGiB / 2) << "in small steps";
    ASSERT_LT(periods, 100);
  }
  EXPECT_GT(periods, 10);
}

TEST_F(Governor, PressureInBetweenBeginsTheCalmAnew) {
  period(4 * kGiB, 0.2);
  for (int i = 0; i < 20; ++i) period(12 * kGiB);
  period(12 * kGiB, 0.2);
  const std::uint64_t low = capacity;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(period(12 * kGiB), low);
}

TEST_F(Governor, ALimitThatIsLoweredIsKeptWithinOnePeriod) {
  total = 4 * kGiB;   // of the cgroup, which it fills
  EXPECT_LE(period(0), 2 * kGiB);
  total = 16 * kGiB;
  EXPECT_GE(capacity, kGiB / 16);
}

TEST_F(Governor, WithoutAReadingItKeepsItsSize) { EXPECT_EQ(governor.next(std::nullopt, 123, 100), 123u); }

}   // namespace
}   // namespace tensorcache::sizing
