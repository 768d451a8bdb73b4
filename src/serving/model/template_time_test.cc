#include "serving/model/template_time.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace tensorcache::model {
namespace {

TEST(TemplateTime, TheGrainOfWhatTemplatesPrint) {
  EXPECT_EQ(template_time("{{ messages }} {%set x = 1%}"), TemplateTime::kNone);
  EXPECT_EQ(template_time("Today Date: {{ date_string }}"), TemplateTime::kDay);
  EXPECT_EQ(template_time("Today is {{datetime}}."), TemplateTime::kDay);
  EXPECT_EQ(template_time(R"({%- if strftime_now is defined %}{{ strftime_now("%d %b %Y") }}{% endif %}{%set y = 2%})"), TemplateTime::kDay);
  EXPECT_EQ(template_time("{{ strftime_now( '%-d %B' ) }}"), TemplateTime::kDay);
  EXPECT_EQ(template_time("{{ strftime_now('%H:%M') }}"), TemplateTime::kSecond);
  EXPECT_EQ(template_time("{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%-I %p') }}"), TemplateTime::kSecond);
  EXPECT_EQ(template_time("{{ strftime_now(my_format) }}"), TemplateTime::kSecond);
  EXPECT_EQ(template_time("{% set now = strftime_now %}{{ now('%H') }}"), TemplateTime::kSecond);
}

TEST(TemplateTime, TheDayIsTheLocalOne) {
  const char* const old = std::getenv("TZ");
  const std::string before = old == nullptr ? "" : old;
  ::setenv("TZ", "America/Los_Angeles", 1);
  ::tzset();
  constexpr std::time_t kSevenUtc = 1764054000;   // 2025-11-25 07:00 UTC: 23:00 on the 24th there
  EXPECT_EQ(time_salt(TemplateTime::kDay, kSevenUtc), "2025-11-24");
  EXPECT_EQ(time_salt(TemplateTime::kDay, kSevenUtc + 2 * 3600), "2025-11-25") << "the same day in UTC, another one there";
  EXPECT_EQ(time_salt(TemplateTime::kSecond, kSevenUtc), "2025-11-24 23:00:00");
  EXPECT_EQ(time_salt(TemplateTime::kNone, kSevenUtc), "");
  before.empty() ? ::unsetenv("TZ") : ::setenv("TZ", before.c_str(), 1);
  ::tzset();
}

}   // namespace
}   // namespace tensorcache::model
