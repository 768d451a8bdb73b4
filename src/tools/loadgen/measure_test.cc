#include "tools/loadgen/measure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tensorcache::loadgen {
namespace {

using ::testing::ElementsAre;

TEST(Percentile, InterpolatesAsNumPyDoes) {
  const std::vector<double> values{10, 20, 30, 40};
  EXPECT_DOUBLE_EQ(percentile(values, 0), 10);
  EXPECT_DOUBLE_EQ(percentile(values, 0.5), 25);
  EXPECT_DOUBLE_EQ(percentile(values, 0.9), 37);
  EXPECT_DOUBLE_EQ(percentile(values, 1), 40);
  EXPECT_DOUBLE_EQ(percentile({7}, 0.99), 7);
  EXPECT_DOUBLE_EQ(percentile({}, 0.5), 0);
}

TEST(Distribution, OfUnorderedValues) {
  const Distribution found = distribution({3, 1, 2});
  EXPECT_EQ(found.count, 3u);
  EXPECT_DOUBLE_EQ(found.mean, 2);
  EXPECT_DOUBLE_EQ(found.p50, 2);
  EXPECT_DOUBLE_EQ(found.min, 1);
  EXPECT_DOUBLE_EQ(found.max, 3);
}

TEST(Summary, CountsErrorsApartFromWhatWasMeasured) {
  Sample good;
  good.ttft_ms = 100;
  good.total_ms = 300;
  good.gap_ms = {10, 20};
  good.prompt_tokens = 1000;
  good.cached_tokens = 900;
  good.completion_tokens = 16;
  Sample bad;
  bad.error = "HTTP 503: busy";
  bad.total_ms = 5;
  const Summary summary = summarise("turn 1", {&good, &bad, &bad}, 2.0);
  EXPECT_EQ(summary.requests, 3u);
  EXPECT_EQ(summary.errors, 2u);
  EXPECT_THAT(summary.first_errors, ElementsAre("HTTP 503: busy"));
  EXPECT_DOUBLE_EQ(summary.ttft_ms.mean, 100);
  EXPECT_DOUBLE_EQ(summary.total_ms.mean, 300);
  EXPECT_EQ(summary.gap_ms.count, 2u);
  EXPECT_DOUBLE_EQ(summary.reused_share, 0.9);
  EXPECT_DOUBLE_EQ(summary.prompt_tokens_per_s, 500);
  EXPECT_DOUBLE_EQ(summary.completion_tokens_per_s, 8);
}

}   // namespace
}   // namespace tensorcache::loadgen
