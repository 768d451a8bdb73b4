// K/V on its way between the context and the cache: in slices, beside others, cancelled, and larger than half of the memory.
#include <algorithm>
#include <ostream>

#include "testing/llama/engine.h"

namespace tensorcache::llama {
namespace {

constexpr int kBlock = 32;

std::uint64_t blocks(testing::TestEngine& engine) { return engine.cache().stats().kinds[static_cast<std::size_t>(Kind::kPrefixBlock)].entries; }

void one_block_a_step(LlamaOptions& options) {
  options.transfer_slice = std::chrono::milliseconds(0);
  options.warm_up = false;
}

struct Variant {
  testing::TinyModel model;
  const char* flash_attn;
  const char* kv_type;
};
std::ostream& operator<<(std::ostream& out, const Variant& v) {
  return out << (v.model == testing::TinyModel::kAttention ? "attention" : "window") << "-flash-" << v.flash_attn << '-' << v.kv_type;
}

// The most likely token alone tells little: with other K/V it is often the same, and nearly certain.
void expect_near(const engine::TokenLogprob& expected, const engine::TokenLogprob& found) {
  constexpr std::size_t kCompared = 15;   // of 20: the last ones may have changed places
  ASSERT_EQ(expected.top.size(), 20u);
  for (std::size_t i = 0; i < kCompared; ++i) {
    const auto same = std::find_if(found.top.begin(), found.top.end(), [&](const auto& candidate) { return candidate.id == expected.top[i].id; });
    ASSERT_NE(same, found.top.end()) << "candidate " << i;
    EXPECT_NEAR(expected.top[i].logprob, same->logprob, 0.05) << "candidate " << i;
  }
}

// Computes other prompts in every slot: else a restore that copies nothing would find what an earlier
// request left in the cells.
void overwrite_cells(testing::TestEngine& engine) {
  std::vector<testing::SinkPtr> sinks;
  for (unsigned slot = 0; slot < 4; ++slot) {
    engine::Request request = testing::TestEngine::request(testing::random_tokens(1000 + slot, 900), 300);
    request.store_prefix = request.use_prefix_cache = false;
    sinks.push_back(engine.submit(request));
  }
  for (const auto& sink : sinks) sink->wait_deltas(1);
  for (const auto& sink : sinks) EXPECT_LT(sink->deltas(), 300) << "they were to run at once, one in each slot";
  for (const auto& sink : sinks) sink->wait_end();
  engine.settle();
}

class EngineTransfer : public ::testing::TestWithParam<Variant> {
 protected:
  static std::function<void(LlamaOptions&)> options(bool prefix_cache) {
    return [prefix_cache](LlamaOptions& options) {
      one_block_a_step(options);
      options.flash_attn = GetParam().flash_attn;
      options.cache_type_k = options.cache_type_v = GetParam().kv_type;
      options.prefix_cache = prefix_cache;
    };
  }
};

TEST_P(EngineTransfer, ARestoredPrefixAnswersAsAComputedOne) {
  testing::TestEngine cold(GetParam().model, options(false)), warm(GetParam().model, options(true));
  const testing::Tokens shared = testing::random_tokens(1, 700);
  warm.ask(shared, 1);
  for (unsigned i = 0; i < 3; ++i) {
    const testing::Tokens prompt = testing::joined(shared, testing::random_tokens(10 + i, 90));
    engine::Request request = testing::TestEngine::request(prompt, 4);
    request.top_logprobs = 20;
    const auto expected = cold.ask(request);
    overwrite_cells(warm);
    const auto reused = warm.ask(request);
    EXPECT_EQ(reused->cached(), 700);
    ASSERT_FALSE(expected->logprobs().empty() || reused->logprobs().empty());
    expect_near(expected->logprobs().front(), reused->logprobs().front());
  }
}

// V is transposed without flash attention.
INSTANTIATE_TEST_SUITE_P(
    Kinds, EngineTransfer,
    ::testing::Values(Variant{testing::TinyModel::kAttention, "on", "f16"}, Variant{testing::TinyModel::kAttention, "off", "f16"},
                      Variant{testing::TinyModel::kAttention, "on", "q8_0"}, Variant{testing::TinyModel::kAttention, "off", "f32"},
                      Variant{testing::TinyModel::kSlidingWindow, "on", "f16"}, Variant{testing::TinyModel::kSlidingWindow, "off", "f16"}));

TEST(EngineSlices, AnotherStreamGoesOnWhileAPrefixIsRestored) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_block_a_step);
  const testing::Tokens shared = testing::random_tokens(1, 1600);
  engine.ask(shared, 2);
  const auto stream = engine.submit(testing::TestEngine::request(testing::random_tokens(2, 40), 1500));
  stream->wait_deltas(3);
  const auto restored = engine.submit(testing::TestEngine::request(testing::joined(shared, testing::random_tokens(3, 10)), 1), nullptr, stream);
  EXPECT_EQ(restored->wait_end().cached(), 1600);
  EXPECT_GE(restored->beside_at_end() - restored->beside_at_begin(), 1600 / kBlock - 10) << "a token of the other stream for each block";
  EXPECT_TRUE(stream->wait_end().finish());
}

TEST(EngineSlices, AnotherStreamGoesOnWhileAPrefixIsSaved) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_block_a_step);
  const auto stream = engine.submit(testing::TestEngine::request(testing::random_tokens(2, 40), 1500));
  stream->wait_deltas(3);
  const auto saved = engine.submit(testing::TestEngine::request(testing::random_tokens(1, 1600), 1), nullptr, stream);
  saved->wait_end();
  while (engine.engine().stats().running > 1) std::this_thread::yield();
  EXPECT_GE(stream->deltas() - saved->beside_at_end(), 1600 / kBlock - 10) << "a token of the other stream for each block";
  EXPECT_TRUE(stream->wait_end().finish());
}

// The next turn comes while the last one is still being stored: it waits, and reuses all of it.
TEST(EngineSlices, ANextTurnThatComesAtOnceReusesAll) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_block_a_step);
  testing::Tokens conversation = testing::random_tokens(1, 1500);
  for (unsigned turn = 0; turn < 4; ++turn) {
    const auto sink = engine.submit(testing::TestEngine::request(conversation, 4));
    sink->wait_end();   // and does not settle
    if (turn > 0) {
      EXPECT_GE(sink->cached(), static_cast<int>(conversation.size()) - 30 - 64) << "turn " << turn;
    }
    conversation = testing::joined(testing::joined(conversation, sink->tokens()), testing::random_tokens(2 + turn, 26));
  }
}

TEST(EngineSlices, CancelledAtAnyStageOfARestoreNothingIsLost) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_block_a_step);
  const testing::Tokens shared = testing::random_tokens(1, 1600);
  const testing::Tokens prompt = testing::joined(shared, testing::random_tokens(2, 70));
  engine.ask(shared, 2);
  const auto first = engine.ask(prompt, 8);
  std::mt19937 random(3);
  for (int round = 0; round < 40; ++round) {
    engine::Engine::Id id = 0;
    const auto sink = engine.submit(testing::TestEngine::request(prompt, 8), &id);
    sink->wait_begun();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 1500));
    engine.engine().cancel(id);
    sink->wait_end();
  }
  engine.settle();
  EXPECT_GT(engine.engine().stats().cancelled, 0u);
  const auto again = engine.ask(prompt, 8);
  EXPECT_EQ(again->tokens(), first->tokens());
  EXPECT_GE(again->cached(), 1600);
}

TEST(EngineSlices, ManyRequestsForAPrefixThatIsHalfRestored) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_block_a_step);
  const testing::Tokens shared = testing::random_tokens(1, 1600);
  engine.ask(shared, 2);
  std::vector<testing::SinkPtr> sinks;
  for (unsigned i = 0; i < 8; ++i) {
    sinks.push_back(engine.submit(testing::TestEngine::request(testing::joined(shared, testing::random_tokens(10 + i, 70)), 4)));
    sinks.front()->wait_begun();
  }
  for (const auto& sink : sinks) EXPECT_EQ(sink->wait_end().cached(), 1600);
}

TEST(EngineSlices, StoppingInTheMiddleOfARestoreEndsAll) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_block_a_step);
  const testing::Tokens shared = testing::random_tokens(1, 1600);
  engine.ask(shared, 2);
  const auto stream = engine.submit(testing::TestEngine::request(testing::random_tokens(2, 40), 1900));
  stream->wait_deltas(3);
  const auto restored = engine.submit(testing::TestEngine::request(testing::joined(shared, testing::random_tokens(3, 10)), 400));
  restored->wait_begun();
  engine.engine().stop(std::chrono::steady_clock::now());
  for (const auto& sink : {stream, restored}) {
    ASSERT_TRUE(sink->wait_end().failure());
    EXPECT_EQ(sink->failure()->code, engine::Failure::Code::kShuttingDown);
  }
}

// A crash in the middle of a long prompt loses the last part only, because the rest was handed to the cache already.
TEST(EngineSlices, ALongPromptIsStoredAsItIsComputed) {
  testing::TestEngine engine(testing::TinyModel::kAttention, [](LlamaOptions& options) {
    options.parallel = 2;
    options.ctx_size = 2 * 4096;
  });
  const testing::Tokens prompt = testing::random_tokens(1, 4000);
  engine::Engine::Id id = 0;
  const auto sink = engine.submit(testing::TestEngine::request(prompt, 4), &id);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (blocks(engine) < 2048 / kBlock && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_GE(blocks(engine), 2048u / kBlock);
  EXPECT_LT(engine.engine().stats().prefilled_tokens, 4000u) << "the prompt was to be running still";
  engine.engine().cancel(id);
  sink->wait_end();
  engine.settle();
  EXPECT_GE(engine.ask(prompt, 2)->cached(), 2048);
}

// One prompt of 90 % of the memory: nothing of it is staged there.
TEST(EngineSlices, APromptLargerThanHalfOfTheMemoryIsReusedAndAHitEvictsNothing) {
  constexpr std::uint64_t kTokenBytes = 256, kTokens = 1800, kBudget = kTokens * kTokenBytes * 10 / 9;
  testing::TestEngine engine(testing::TinyModel::kAttention, one_block_a_step, kBudget);
  ASSERT_EQ(engine.engine().info().block_bytes, kBlock * kTokenBytes);
  const testing::Tokens prompt = testing::random_tokens(1, kTokens);
  engine.ask(prompt, 1);
  const Stats before = engine.cache().stats();
  const auto sink = engine.ask(testing::joined(prompt, testing::random_tokens(2, 60)), 1);
  EXPECT_GE(sink->cached(), static_cast<int>(kTokens * 99 / 100));
  EXPECT_EQ(engine.cache().stats().evictions, before.evictions);
  EXPECT_LE(engine.cache().stats().peak_bytes, kBudget);
}

TEST(EngineSlices, WhatMemoryHasNoRoomForIsCounted) {
  constexpr std::uint64_t kBudget = 300 << 10;
  testing::TestEngine engine(testing::TinyModel::kAttention, one_block_a_step, kBudget);
  engine.ask(testing::random_tokens(1, 1800), 1);
  EXPECT_GT(engine.engine().stats().blocks_not_saved, 0u);
}

TEST(EngineSlices, AtTheEndOfATurnOnlyItsNewTokensAreCopied) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_block_a_step);
  const testing::Tokens asked = testing::random_tokens(1, 1600);
  const testing::Tokens conversation = testing::joined(asked, engine.ask(asked, 8)->tokens());
  const std::uint64_t before = engine.engine().stats().kv_saved_bytes;
  engine.ask(testing::joined(conversation, testing::random_tokens(2, 200)), 8);
  const std::uint64_t token_bytes = engine.engine().info().block_bytes / kBlock;
  EXPECT_LE(engine.engine().stats().kv_saved_bytes - before, (200 + 8 + kBlock) * token_bytes);
  EXPECT_GE(engine.engine().stats().kv_restored_bytes, 1600 * token_bytes);
}

}   // namespace
}   // namespace tensorcache::llama
