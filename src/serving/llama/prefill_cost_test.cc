#include "serving/llama/prefill_cost.h"

#include <gtest/gtest.h>

namespace tensorcache::llama {
namespace {

// About SmolLM2 135M: 30 layers of 576.
constexpr ModelSize kSmall{.layers = 30, .embedding = 576, .parameters = 134'515'008};

TEST(PrefillCost, AFullTileMayCostLessThanAShortRest) {
  const PrefillCost cost(kSmall, true);
  EXPECT_EQ(cost.worth_taking_over(7'950, 8'000), 8'000u - 64) << "50 tokens row by row behind 8,000 cost more than a tile of 64";
  EXPECT_EQ(cost.worth_taking_over(7'999, 8'000), 7'999u) << "one token does not";
}

TEST(PrefillCost, ARestOfATileOrMoreIsTakenOverWhole) {
  const PrefillCost cost(kSmall, true);
  EXPECT_EQ(cost.worth_taking_over(7'936, 8'000), 7'936u);
  EXPECT_EQ(cost.worth_taking_over(0, 8'000), 0u);
}

TEST(PrefillCost, AShortContextHasLittleAttention) {
  const PrefillCost cost(kSmall, true);
  EXPECT_EQ(cost.worth_taking_over(150, 200), 150u);
  EXPECT_EQ(cost.worth_taking_over(10, 40), 10u) << "a prompt without a full tile";
}

// The dearer attention is, the shorter the rest for which a tile pays.
TEST(PrefillCost, TheChoiceIsMonotonousInTheRest) {
  const PrefillCost cost(kSmall, true);
  bool tile = true;
  for (std::size_t cached = 8'000 - 63; cached < 8'000; ++cached) {
    const bool chosen = cost.worth_taking_over(cached, 8'000) != cached;
    EXPECT_TRUE(tile || !chosen) << cached;
    tile = chosen;
  }
  EXPECT_FALSE(tile);
}

TEST(PrefillCost, WithoutTilesNothingIsAssumed) {
  const PrefillCost cost(kSmall, false);
  EXPECT_EQ(cost.worth_taking_over(7'950, 8'000), 7'950u);
}

}   // namespace
}   // namespace tensorcache::llama
