// One context for all requests: one may use all of it, and requests that together need more take turns.
#include "testing/llama/engine.h"

namespace tensorcache::llama {
namespace {

constexpr int kContext = 2048;

void small_context(LlamaOptions& options) { options.ctx_size = kContext; }

// What each request gives alone.
struct Alone {
  testing::TestEngine engine{testing::TinyModel::kAttention, [](LlamaOptions& options) {
                               options.parallel = 1;
                               options.ctx_size = kContext;
                               options.prefix_cache = false;
                             }};
  testing::Tokens tokens(const testing::Tokens& prompt, int count) { return engine.ask(prompt, count)->tokens(); }
};

TEST(EngineRoom, OneRequestMayUseTheWholeContext) {
  testing::TestEngine engine(testing::TinyModel::kAttention, small_context);
  EXPECT_EQ(engine.engine().info().context_tokens, kContext);
  EXPECT_EQ(engine.engine().info().total_context_tokens, kContext);
  const auto prompt = testing::random_tokens(1, kContext - 40);
  const auto answered = engine.ask(prompt, -1);
  ASSERT_TRUE(answered->finish());
  EXPECT_EQ(answered->finish()->usage.completion_tokens, 41) << "the last token needs no place";
  EXPECT_EQ(answered->tokens(), Alone().tokens(prompt, -1));
}

TEST(EngineRoom, PromptsThatDoNotFitTogetherWait) {
  testing::TestEngine engine(testing::TinyModel::kAttention, small_context);
  Alone alone;
  std::vector<testing::SinkPtr> sinks;
  std::vector<testing::Tokens> prompts;
  for (unsigned i = 0; i < 6; ++i) prompts.push_back(testing::random_tokens(10 + i, 1200));
  for (const auto& prompt : prompts) sinks.push_back(engine.submit(testing::TestEngine::request(prompt, 20)));
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->wait_end().finish());
    EXPECT_EQ(sinks[i]->tokens(), alone.tokens(prompts[i], 20)) << i;
  }
  EXPECT_EQ(engine.engine().stats().preemptions, 0u);
}

TEST(EngineRoom, ShortOnesPassByALongOneButNotForEver) {
  testing::TestEngine engine(testing::TinyModel::kAttention, small_context);
  const auto running = engine.submit(testing::TestEngine::request(testing::random_tokens(20, 1000), 500));
  running->wait_begun();
  const auto too_long = engine.submit(testing::TestEngine::request(testing::random_tokens(21, 1500), 2));
  const auto fits = engine.submit(testing::TestEngine::request(testing::random_tokens(22, 50), 2));
  EXPECT_TRUE(fits->wait_end().finish());
  EXPECT_FALSE(running->finish()) << "it waited for the running one, or for the long one";
  std::vector<testing::SinkPtr> sinks;
  for (unsigned i = 0; i < 60; ++i) sinks.push_back(engine.submit(testing::TestEngine::request(testing::random_tokens(100 + i, 100), 60)));
  too_long->wait_end();
  int unfinished = 0;
  for (const auto& sink : sinks) unfinished += !sink->finish();
  for (const auto& sink : sinks) EXPECT_TRUE(sink->wait_end().finish());
  EXPECT_GT(unfinished, 0) << "the long one waited for all of the short ones";
}

// Answers grow until they do not fit together any more: the younger ones leave their slots, and lose nothing.
TEST(EngineRoom, TheLastThatStartedWaitsWhenAnswersGrow) {
  for (const bool store : {true, false}) {
    testing::TestEngine engine(testing::TinyModel::kAttention, small_context);
    Alone alone;
    std::vector<testing::SinkPtr> sinks;
    std::vector<testing::Tokens> prompts;
    for (unsigned i = 0; i < 4; ++i) {
      prompts.push_back(testing::random_tokens(30 + i, 100));
      engine::Request request = testing::TestEngine::request(prompts.back(), 900);
      request.store_prefix = request.use_prefix_cache = store;
      sinks.push_back(engine.submit(std::move(request)));
    }
    for (std::size_t i = 0; i < sinks.size(); ++i) {
      ASSERT_TRUE(sinks[i]->wait_end().finish());
      EXPECT_EQ(sinks[i]->finish()->usage.prompt_tokens, 100);
      EXPECT_EQ(sinks[i]->finish()->usage.completion_tokens, 900);
      EXPECT_EQ(sinks[i]->tokens(), alone.tokens(prompts[i], 900)) << i;
    }
    engine.settle();
    const engine::EngineStats stats = engine.engine().stats();
    EXPECT_GE(stats.preemptions, 2u);
    EXPECT_EQ(stats.requests, 4u);
    EXPECT_EQ(stats.prompt_tokens, 400u);
    if (store) {
      EXPECT_LT(stats.prefilled_tokens, 600u) << "what was computed before is restored";
    }
  }
}

TEST(EngineRoom, OneThatWaitsAgainCanBeCancelled) {
  testing::TestEngine engine(testing::TinyModel::kAttention, small_context);
  engine::Engine::Id id = 0;
  const auto first = engine.submit(testing::TestEngine::request(testing::random_tokens(40, 700), 1300));
  first->wait_deltas(1);
  const auto second = engine.submit(testing::TestEngine::request(testing::random_tokens(41, 700), 1300), &id);
  ASSERT_TRUE(testing::eventually([&] { return engine.engine().stats().preemptions > 0; }));
  engine.engine().cancel(id);
  ASSERT_TRUE(second->wait_end().failure());
  EXPECT_EQ(second->failure()->code, engine::Failure::Code::kCancelled);
  EXPECT_GT(second->deltas(), 0) << "it had begun";
  EXPECT_FALSE(first->finish());
  EXPECT_TRUE(first->wait_end().finish());
  engine.settle();
  EXPECT_TRUE(engine.ask(testing::random_tokens(42, 2000), 2)->finish()) << "all of the context is free again";
}

TEST(EngineRoom, StopEndsOnesThatWaitAgain) {
  testing::TestEngine engine(testing::TinyModel::kAttention, small_context);
  std::vector<testing::SinkPtr> sinks;
  for (unsigned i = 0; i < 4; ++i) sinks.push_back(engine.submit(testing::TestEngine::request(testing::random_tokens(50 + i, 300), 1700)));
  ASSERT_TRUE(testing::eventually([&] { return engine.engine().stats().preemptions > 0; }));
  engine.engine().stop(std::chrono::steady_clock::now());
  for (const auto& sink : sinks) EXPECT_TRUE(sink->wait_end().failure());
}

// Prompts and answers of random lengths: memory is taken from slots and given back all the time.
TEST(EngineRoom, NoMemoryThatIsInUseIsGivenBack) {
  for (const auto kind : {testing::TinyModel::kAttention, testing::TinyModel::kSlidingWindow}) {
    for (const char* flash : {"on", "off"}) {
      const auto options = [&](LlamaOptions& o) {
        small_context(o);
        o.flash_attn = flash;
      };
      testing::TestEngine engine(kind, options);
      testing::TestEngine reference(kind, [&](LlamaOptions& o) {
        o.parallel = 1;
        o.ctx_size = kContext;
        o.flash_attn = flash;
        o.prefix_cache = false;
      });
      std::mt19937 random(7);
      std::vector<std::pair<engine::Request, testing::SinkPtr>> asked;
      for (unsigned i = 0; i < 24; ++i) {
        const auto prompt = testing::random_tokens(200 + i % 16, i % 3 == 0 ? 900 + random() % 900 : 20 + random() % 300);
        auto request = testing::TestEngine::request(prompt, static_cast<int>(10 + random() % 120));
        auto sink = engine.submit(request);
        asked.emplace_back(std::move(request), std::move(sink));
      }
      for (auto& [request, sink] : asked) {
        ASSERT_TRUE(sink->wait_end().finish());
        EXPECT_EQ(sink->tokens(), reference.ask(request)->tokens()) << flash << " " << request.prompt_tokens.size();
      }
    }
  }
}

}   // namespace
}   // namespace tensorcache::llama
