#include "base/core/field_error.h"

#include <gtest/gtest.h>

namespace tensorcache {
namespace {

TEST(FieldError, SaysItsSentenceWithOtherNames) {
  const auto option = [](std::string_view field) { return "--" + std::string(field); };
  const FieldError plain("host", "must not be empty, as the host is");
  EXPECT_STREQ(plain.what(), "host: must not be empty, as the host is");
  EXPECT_EQ(plain.field(), "host");
  EXPECT_EQ(plain.with_names(option), "--host: must not be empty, as the host is");
  const FieldError two("host", "needs keys, or open, or more keys", {"keys", "open"});
  EXPECT_EQ(two.with_names(option), "--host: needs --keys, or --open, or more --keys");
}

}   // namespace
}   // namespace tensorcache
