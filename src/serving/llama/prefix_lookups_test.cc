// The look-ups of one request in the memory tier: a prefix is matched once.
#include "testing/llama/engine.h"
#include "testing/store/lookups.h"

namespace tensorcache::llama {
namespace {

constexpr std::uint64_t kFind = 2;   // full blocks, then a partial one
constexpr std::uint64_t kUse = 1;    // told to the policy
constexpr std::uint64_t kSave = 2;   // at the end: full blocks, then the partial one

class PrefixLookups : public ::testing::Test {
 protected:
  static void quiet(LlamaOptions& options) { options.warm_up = false; }
  [[nodiscard]] std::uint64_t lookups(engine::Request request, int expect_cached) {
    lookups_.restart();
    const auto sink = engine_.ask(std::move(request));
    EXPECT_EQ(sink->cached(), expect_cached);
    return lookups_.count();
  }
  static engine::Request not_stored(testing::Tokens prompt) {
    engine::Request request = testing::TestEngine::request(std::move(prompt), 2);
    request.store_prefix = false;
    return request;
  }

  testing::TestEngine engine_{testing::TinyModel::kAttention, quiet};
  testing::LookupCounter lookups_{engine_.cache()};
  const testing::Tokens prompt_ = testing::random_tokens(1, 300);
};

TEST_F(PrefixLookups, OfAColdPrompt) { EXPECT_EQ(lookups(not_stored(prompt_), 0), kFind + kUse); }

TEST_F(PrefixLookups, OfAHalfKnownPrompt) {
  engine_.ask(prompt_, 2);
  const testing::Tokens half(prompt_.begin(), prompt_.begin() + 160);
  EXPECT_EQ(lookups(not_stored(testing::joined(half, testing::random_tokens(2, 140))), 160), kFind + kUse);
}

TEST_F(PrefixLookups, OfAKnownPrompt) {
  const testing::Tokens known = testing::joined(prompt_, engine_.ask(prompt_, 2)->tokens());
  const testing::Tokens longer = testing::joined(known, testing::random_tokens(3, 10));
  EXPECT_EQ(lookups(not_stored(longer), 301), kFind + kUse);
}

TEST_F(PrefixLookups, AtTheEndWhatWasFoundIsAdvisedAndDemoted) {
  engine::Request request = testing::TestEngine::request(prompt_, 2);
  engine_.ask(request);
  const std::uint64_t plain = lookups(request, 288);
  EXPECT_EQ(plain, kFind + kUse + kSave);
  request.hints.priority = 80;
  EXPECT_EQ(lookups(request, 288), plain + 1);
  request.ends_conversation = true;
  EXPECT_EQ(lookups(request, 288), plain + 2);
}

// A prefix that another request stores after this one was prepared is found all the same, by one more look-up.
TEST_F(PrefixLookups, OfAPromptThatWaitedForItsPrefix) {
  const testing::Tokens shared = testing::random_tokens(4, 1600);
  const auto first = engine_.submit(testing::TestEngine::request(shared, 2));
  const auto second = engine_.submit(not_stored(testing::joined(shared, testing::random_tokens(5, 10))));
  first->wait_end();
  EXPECT_GE(second->wait_end().cached(), 1600 - 32);
}

}   // namespace
}   // namespace tensorcache::llama
