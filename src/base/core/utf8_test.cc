#include "base/core/utf8.h"

#include <gtest/gtest.h>

namespace tensorcache {
namespace {

TEST(Utf8, TellsTheLengthOfACharacter) {
  EXPECT_EQ(utf8_character_bytes("az"), 1u);
  EXPECT_EQ(utf8_character_bytes("\xC3\xA9z"), 2u);
  EXPECT_EQ(utf8_character_bytes("\xE2\x82\xACz"), 3u);
  EXPECT_EQ(utf8_character_bytes("\xF0\x9F\x98\x80z"), 4u);
  EXPECT_EQ(utf8_character_bytes(""), 0u);
}

TEST(Utf8, KnowsWhatIsIllFormed) {
  // Alone, cut off, overlong, a surrogate, above U+10FFFF, no first byte.
  for (const char* bad : {"\x80", "\xE2\x82", "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                          "\xF5\x80\x80\x80", "\xFF"}) {
    EXPECT_EQ(utf8_character_bytes(bad), 0u) << bad;
    EXPECT_FALSE(is_utf8(std::string("good") + bad));
  }
  for (const char* good : {"", "plain", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(is_utf8(good)) << good;
}

TEST(Utf8, ReplacesEachMaximalIllFormedPieceOnce) {
  EXPECT_EQ(to_valid_utf8("a\xFFz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(to_valid_utf8("\xE2\x82"), kUtf8Replacement);             // unfinished
  EXPECT_EQ(to_valid_utf8("\xF0\x9F\x98z"), "\xEF\xBF\xBDz");         // likewise, in the middle
  EXPECT_EQ(to_valid_utf8("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");   // overlong
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80").size(), 9u);                // a surrogate
  EXPECT_EQ(to_valid_utf8("\xE2\x82\xAC"), "\xE2\x82\xAC");
}

TEST(Utf8, FindsTheBeginningOfACharacterAtTheEnd) {
  EXPECT_EQ(unfinished_utf8_tail("abc"), 0u);
  EXPECT_EQ(unfinished_utf8_tail("ab\xC3"), 1u);
  EXPECT_EQ(unfinished_utf8_tail("ab\xE2\x82"), 2u);
  EXPECT_EQ(unfinished_utf8_tail("ab\xF0\x9F\x98"), 3u);
  EXPECT_EQ(unfinished_utf8_tail("ab\xE2\x82\xAC"), 0u);
  EXPECT_EQ(unfinished_utf8_tail("ab\xE0\x80"), 0u);   // cannot become one any more
  EXPECT_EQ(unfinished_utf8_tail(""), 0u);
}

}   // namespace
}   // namespace tensorcache
