#include "base/core/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tensorcache {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

TEST(Size, BinaryAndDecimalAreToldApart) {
  EXPECT_EQ(*parse_size("8GiB"), 8 * kGiB);
  EXPECT_EQ(*parse_size("512MiB"), kGiB / 2);
  EXPECT_EQ(*parse_size("100MB"), 100'000'000u);
  EXPECT_EQ(*parse_size("1kB"), 1000u);
  EXPECT_EQ(*parse_size("1KiB"), 1024u);
  EXPECT_EQ(*parse_size("2Gi"), 2 * kGiB);
  EXPECT_EQ(*parse_size("1TiB"), 1024 * kGiB);
}

TEST(Size, FractionsSpacesAndPlainBytes) {
  EXPECT_EQ(*parse_size("1.5GiB"), kGiB + kGiB / 2);
  EXPECT_EQ(*parse_size(" 4 gib "), 4 * kGiB);
  EXPECT_EQ(*parse_size("4096"), 4096u);
  EXPECT_EQ(*parse_size("0"), 0u);
  EXPECT_EQ(*parse_size("17B"), 17u);
}

TEST(Size, ErrorsHelp) {
  EXPECT_THAT(parse_size("8G").error(), HasSubstr("8GiB (1024) or 8GB (1000)"));
  EXPECT_THAT(parse_size("3k").error(), HasSubstr("3KiB (1024) or 3kB (1000)"));
  for (const char* wrong : {"", "GiB", "-1GiB", "8XiB", "1.5", "1..5GiB", "8GiB8", ".GiB"}) {
    EXPECT_FALSE(parse_size(wrong)) << wrong;
    EXPECT_FALSE(parse_size(wrong).error().empty()) << wrong;
  }
  EXPECT_THAT(parse_size("99999999999TiB").error(), HasSubstr("too large"));
}

TEST(Duration, UnitsAddUp) {
  EXPECT_EQ(*parse_duration("10m"), milliseconds(600'000));
  EXPECT_EQ(*parse_duration("250ms"), milliseconds(250));
  EXPECT_EQ(*parse_duration("1h30m"), milliseconds(5'400'000));
  EXPECT_EQ(*parse_duration("30"), milliseconds(30'000));
  EXPECT_EQ(*parse_duration("0.5"), milliseconds(500));
  EXPECT_EQ(*parse_duration("1.5s"), milliseconds(1500));
  EXPECT_EQ(*parse_duration("2d"), milliseconds(172'800'000));
  EXPECT_EQ(*parse_duration("0"), milliseconds(0));
}

TEST(Duration, ErrorsHelp) {
  for (const char* wrong : {"", "m", "-5s", "10 minutes", "30m1h", "1h30", "5y", "1m1m"}) EXPECT_FALSE(parse_duration(wrong)) << wrong;
  EXPECT_THAT(parse_duration("soon").error(), HasSubstr("'soon' is not a duration; write it as 10m"));
  EXPECT_THAT(parse_duration("999999d").error(), HasSubstr("longer than a hundred years"));
}

TEST(Format, SizesForReading) {
  EXPECT_EQ(format_size(0), "0B");
  EXPECT_EQ(format_size(1023), "1023B");
  EXPECT_EQ(format_size(1024), "1KiB");
  EXPECT_EQ(format_size(23'040), "22.5KiB");
  EXPECT_EQ(format_size(8 * kGiB), "8GiB");
  EXPECT_EQ(format_size(kGiB - 1), "1GiB");
  EXPECT_EQ(format_size(kGiB + kGiB / 3), "1.33GiB");
}

TEST(Format, ExactSizesAndDurationsReadBack) {
  for (std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1025}, std::uint64_t{100'000'000}, 8 * kGiB, kGiB - 1}) {
    EXPECT_EQ(*parse_size(exact_size(bytes)), bytes) << exact_size(bytes);
  }
  EXPECT_EQ(exact_size(8 * kGiB), "8GiB");
  EXPECT_EQ(exact_size(100'000'000), "100MB");
  for (std::int64_t ms : {0, 1, 999, 1000, 60'500, 5'400'000, 90'061'001}) {
    EXPECT_EQ(*parse_duration(format_duration(milliseconds(ms))), milliseconds(ms)) << format_duration(milliseconds(ms));
  }
  EXPECT_EQ(format_duration(milliseconds(5'400'000)), "1h30m");
}

}   // namespace
}   // namespace tensorcache
