#include "tools/simulate/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace tensorcache::simulate {
namespace {

using ::testing::HasSubstr;

Report small() {
  Report report{.trace = "t<1>.jsonl", .unit = "blocks", .requests = 10, .accesses = 1000, .distinct = 300, .distinct_size = 300};
  const auto found = [&](const char* policy, std::uint64_t size, const char* text, std::uint64_t misses) {
    Outcome outcome{.requests = 10, .requests_hit = 4, .accesses = 1000, .misses = misses, .tokens = 1'000'000, .missed_tokens = 1000 * misses};
    report.findings.push_back({{policy, size, 0}, text, outcome, 0.5});
  };
  found("lru", 3, "1%", 900);
  found("clock", 3, "1%", 880);
  found("min", 3, "1%", 700);
  found("lru", 30, "10%", 505);
  found("clock", 30, "10%", 510);
  found("min", 30, "10%", 500);
  found("lru", 300, "100%", 500);
  found("clock", 300, "100%", 500);
  found("min", 300, "100%", 500);
  return report;
}

TEST(SimulateReport, TheTableHasPoliciesDownAndSizesAcross) {
  const std::string text = table(small());
  EXPECT_THAT(text, HasSubstr("10 requests, 1,000 accesses, 300 distinct blocks"));
  EXPECT_THAT(text, HasSubstr("miss ratio  1% (3)  10% (30)  100% (300)"));
  EXPECT_THAT(text, HasSubstr("clock       0.8800    0.5100      0.5000"));
}

TEST(SimulateReport, AdviceIsTheSmallestSizeThatIsWorthItAndItsBestPolicy) {
  Report report = small();
  EXPECT_EQ(advice(report),
            "Choose lru with 30 blocks: hit ratio 49.5 %, which saves the prefill of 495,000 of 1,000,000 prompt tokens; "
            "a larger cache gains less than one percentage point.");
  report.tokens_per_second = 100;
  EXPECT_THAT(advice(report), HasSubstr("which saves 82 minutes of prefill"));
  report.findings.resize(3);
  EXPECT_THAT(advice(report), HasSubstr("Choose clock with 3 blocks"));
  EXPECT_THAT(advice(report), HasSubstr("a larger cache was not tried"));
}

TEST(SimulateReport, JsonHasAnObjectForEachSizeAndPolicy) {
  const auto object = boost::json::parse(json(small())).as_object();
  const auto& results = object.at("results").as_array();
  ASSERT_EQ(results.size(), 9u);
  EXPECT_EQ(results[1].at("policy").as_string(), "clock");
  EXPECT_EQ(results[1].at("size").to_number<int>(), 3);
  EXPECT_DOUBLE_EQ(results[1].at("miss_ratio").to_number<double>(), 0.88);
  EXPECT_DOUBLE_EQ(results[1].at("request_hit_ratio").to_number<double>(), 0.4);
}

TEST(SimulateReport, CsvAndPicturesHoldEveryFinding) {
  const std::string text = csv(small());
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 10);
  EXPECT_THAT(text, HasSubstr("min,0,30,10%,0.500000"));
  const std::string picture = svg(small());
  std::size_t circles = 0;
  for (std::size_t at = picture.find("<circle"); at != std::string::npos; at = picture.find("<circle", at + 1)) ++circles;
  EXPECT_EQ(circles, 9u);
  EXPECT_THAT(html(small()), HasSubstr("<h1>t&lt;1>.jsonl</h1>"));
}

}   // namespace
}   // namespace tensorcache::simulate
