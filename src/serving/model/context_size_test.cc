#include "serving/model/context_size.h"

#include <gtest/gtest.h>

namespace tensorcache::model {
namespace {

constexpr std::uint64_t kGib = 1ULL << 30, kKib = 1024;

TEST(ContextSize, OneRequestMayUseAllThatWasAskedForUpToWhatTheModelWasTrainedFor) {
  const auto size = [](std::uint32_t asked, std::uint32_t trained) {
    return context_size({.asked_tokens = asked, .trained_tokens = trained, .sequences = 4, .shared = true});
  };
  EXPECT_EQ(size(8192, 131072).total_tokens, 8192u);
  EXPECT_EQ(size(8192, 131072).sequence_tokens, 8192u);
  EXPECT_EQ(size(8192, 4096).sequence_tokens, 4096u);
  EXPECT_EQ(size(65536, 4096).sequence_tokens, 16384u) << "what an equal part would be stays allowed";
  EXPECT_EQ(size(1000, 4096).sequence_tokens, 1024u) << "rounded as llama.cpp does";
}

TEST(ContextSize, WithoutSharingEachHasAnEqualPart) {
  const ContextSize size = context_size({.asked_tokens = 8192, .trained_tokens = 131072, .sequences = 4});
  EXPECT_EQ(size.total_tokens, 8192u);
  EXPECT_EQ(size.sequence_tokens, 2048u);
  EXPECT_EQ(context_size({.asked_tokens = 1000, .trained_tokens = 4096, .sequences = 3}).sequence_tokens, 512u);
}

TEST(ContextSize, ByDefaultIsOneRequestOfTheModelsContextAndAQuarterOfTheMemoryInAll) {
  ContextNeeds needs{.trained_tokens = 131072, .sequences = 4, .shared = true, .token_bytes = 128 * kKib, .memory_bytes = 24 * kGib};
  EXPECT_EQ(context_size(needs).sequence_tokens, 32768u);
  EXPECT_EQ(context_size(needs).total_tokens, 49152u) << "6 GiB of 128 KiB";
  needs.memory_bytes = 8 * kGib;
  EXPECT_EQ(context_size(needs).sequence_tokens, 16384u);
  EXPECT_EQ(context_size(needs).total_tokens, 16384u);
  needs.memory_bytes = kGib / 8;
  EXPECT_EQ(context_size(needs).sequence_tokens, 2048u) << "not less";
  needs.memory_bytes = 1024 * kGib;
  EXPECT_EQ(context_size(needs).total_tokens, 4 * 32768u) << "not more than all of them can use";
  needs.trained_tokens = 2048;
  EXPECT_EQ(context_size(needs).sequence_tokens, 2048u);
  needs.shared = false;
  needs.trained_tokens = 131072;
  needs.memory_bytes = 24 * kGib;
  EXPECT_EQ(context_size(needs).sequence_tokens, 8192u);
}

TEST(ContextSize, ManySequencesDoNotHaveCellsWithoutEnd) {
  const ContextSize size = context_size({.asked_tokens = 131072, .trained_tokens = 131072, .sequences = 64, .shared = true});
  EXPECT_EQ(size.total_tokens, 131072u);
  EXPECT_EQ(size.sequence_tokens, 8192u);
}

}   // namespace
}   // namespace tensorcache::model
