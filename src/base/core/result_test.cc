#include "base/core/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace tensorcache {
namespace {

Result<std::string, std::string> greeting(const std::string& name) {
  if (name.empty()) return Failure(std::string("the name is missing"));
  return "hello " + name;
}

TEST(Result, HoldsAValueOrTheReason) {
  const auto good = greeting("you");
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, "hello you");
  EXPECT_EQ(good->size(), 9u);
  const auto bad = greeting("");
  ASSERT_FALSE(bad);
  EXPECT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error(), "the name is missing");
}

TEST(Result, TellsAReasonFromAValueOfTheSameType) {
  const Result<int, int> value(3), reason(Failure(3));
  EXPECT_TRUE(value);
  EXPECT_FALSE(reason);
  EXPECT_EQ(reason.error(), 3);
}

TEST(Result, MovesItsValueOut) {
  Result<std::unique_ptr<int>, std::string> made(std::make_unique<int>(7));
  const std::unique_ptr<int> taken = *std::move(made);
  EXPECT_EQ(*taken, 7);
}

TEST(Result, OfNothingSaysSuccessOrTheReason) {
  const auto check = [](bool good) -> Result<void, std::string> {
    if (!good) return Failure("no");
    return {};
  };
  EXPECT_TRUE(check(true));
  ASSERT_FALSE(check(false));
  EXPECT_EQ(check(false).error(), "no");
}

}   // namespace
}   // namespace tensorcache
