#include "base/json/json_text.h"

#include <gtest/gtest.h>

#include <limits>

namespace tensorcache::json {
namespace {

std::string quoted(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

TEST(JsonText, Escapes) {
  EXPECT_EQ(quoted("a\"b\\c\n\r\t\x01\x1f/"), R"("a\"b\\c\n\r\t\u0001\u001f/")");
  EXPECT_EQ(quoted("\x7f"), "\"\x7f\"");
  EXPECT_EQ(quoted("é€😀"), "\"é€😀\"");
}

TEST(JsonText, WhatIsNotUtf8BecomesAReplacement) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(quoted("a\xC3"), "\"a" + r + "\"");
  EXPECT_EQ(quoted("\xA9z"), "\"" + r + "z\"");
  EXPECT_EQ(quoted("\xC0\x80"), "\"" + r + r + "\"") << "overlong";
  EXPECT_EQ(quoted("\xED\xA0\x80"), "\"" + r + r + r + "\"") << "a surrogate";
  EXPECT_EQ(quoted("\xF4\x90\x80\x80"), "\"" + r + r + r + r + "\"") << "above U+10FFFF";
}

TEST(JsonText, Numbers) {
  std::string out;
  append_json_number(out, std::numeric_limits<std::int64_t>::min());
  append_json_number(out, -0.5f);
  append_json_number(out, -std::numeric_limits<float>::infinity());
  EXPECT_EQ(out, "-9223372036854775808-0.5-9999.0");
}

}   // namespace
}   // namespace tensorcache::json
