#include "serving/answer/answer_key.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace tensorcache::answer {
namespace {

const Key kEngine = Key::of("engine");

engine::Request base() {
  engine::Request request;
  request.tenant = "t";
  request.messages = {{"system", "be brief", ""}, {"user", "hello", ""}};
  request.stop = {"x"};
  return request;
}

Key key_of(const engine::Request& request) { return answer_key(request, kEngine, ""); }

TEST(AnswerKey, EachThingThatCanChangeTheAnswerChangesTheKey) {
  const std::vector<std::function<void(engine::Request&)>> changes = {
      [](engine::Request& r) { r.kind = engine::Request::Kind::kCompletion; },
      [](engine::Request& r) { r.tenant = "u"; },
      [](engine::Request& r) { r.messages[1].role = "assistant"; },
      [](engine::Request& r) { r.messages[1].content = "hello "; },
      [](engine::Request& r) { r.messages[1].name = "n"; },
      [](engine::Request& r) { r.messages.pop_back(); },
      [](engine::Request& r) { std::swap(r.messages[0], r.messages[1]); },
      [](engine::Request& r) { r.messages[0].content = "be briefuserhello", r.messages.pop_back(); },
      [](engine::Request& r) { r.prompt = "p"; },
      [](engine::Request& r) { r.prompt_tokens = {1}; },
      [](engine::Request& r) { r.prompt_tokens = {1, 2}; },
      [](engine::Request& r) { r.sampling.temperature = 0; },
      [](engine::Request& r) { r.sampling.top_p = 0.5f; },
      [](engine::Request& r) { r.sampling.min_p = 0.5f; },
      [](engine::Request& r) { r.sampling.top_k = 41; },
      [](engine::Request& r) { r.sampling.seed = 0; },
      [](engine::Request& r) { r.sampling.seed = 1; },
      [](engine::Request& r) { r.sampling.presence_penalty = 0.5f; },
      [](engine::Request& r) { r.sampling.frequency_penalty = 0.5f; },
      [](engine::Request& r) { r.sampling.repeat_penalty = 1.5f; },
      [](engine::Request& r) { r.sampling.logit_bias = {{1, 0.5f}}; },
      [](engine::Request& r) { r.sampling.logit_bias = {{2, 0.5f}}; },
      [](engine::Request& r) { r.sampling.logit_bias = {{1, 1.5f}}; },
      [](engine::Request& r) { r.max_tokens = 1; },
      [](engine::Request& r) { r.stop = {}; },
      [](engine::Request& r) { r.stop = {"x", ""}; },
      [](engine::Request& r) { r.stop = {"y"}; },
      [](engine::Request& r) { r.logprobs = true; },
      [](engine::Request& r) { r.top_logprobs = 2; },
      [](engine::Request& r) { r.messages[1].reasoning = "n"; },
      [](engine::Request& r) { r.messages[1].tool_call_id = "n"; },
      [](engine::Request& r) { r.messages[1].tool_calls = {{"n", "f", "{}"}}; },
      [](engine::Request& r) { r.messages[1].tool_calls = {{"m", "f", "{}"}}; },
      [](engine::Request& r) { r.messages[1].tool_calls = {{"n", "g", "{}"}}; },
      [](engine::Request& r) { r.messages[1].tool_calls = {{"n", "f", "{ }"}}; },
      [](engine::Request& r) { r.chat.tools = {{"f", "d", "{}"}}; },
      [](engine::Request& r) { r.chat.tools = {{"g", "d", "{}"}}; },
      [](engine::Request& r) { r.chat.tools = {{"f", "e", "{}"}}; },
      [](engine::Request& r) { r.chat.tools = {{"f", "d", "{ }"}}; },
      [](engine::Request& r) { r.chat.tool_choice = engine::ToolChoice::kNone; },
      [](engine::Request& r) { r.chat.tool_choice = engine::ToolChoice::kRequired; },
      [](engine::Request& r) { r.chat.parallel_tool_calls = false; },
      [](engine::Request& r) { r.chat.parallel_tool_calls = true; },
      [](engine::Request& r) { r.chat.template_kwargs = {{"a", "1"}}; },
      [](engine::Request& r) { r.chat.template_kwargs = {{"a", "2"}}; },
      [](engine::Request& r) { r.chat.thinking = false; },
      [](engine::Request& r) { r.chat.separate_reasoning = false; },
      [](engine::Request& r) { r.json_schema = "{}"; },
      [](engine::Request& r) { r.grammar = "{}"; },
      [](engine::Request& r) { r.sampling.repeat_last_n = 1; },
      [](engine::Request& r) { r.sampling.typical_p = 0.5f; },
      [](engine::Request& r) { r.sampling.top_n_sigma = 0.5f; },
      [](engine::Request& r) { r.sampling.xtc_probability = 0.5f; },
      [](engine::Request& r) { r.sampling.xtc_threshold = 0.5f; },
      [](engine::Request& r) { r.sampling.dynatemp_range = 0.5f; },
      [](engine::Request& r) { r.sampling.dynatemp_exponent = 0.5f; },
      [](engine::Request& r) { r.sampling.dry_multiplier = 0.5f; },
      [](engine::Request& r) { r.sampling.dry_base = 0.5f; },
      [](engine::Request& r) { r.sampling.dry_allowed_length = 3; },
      [](engine::Request& r) { r.sampling.dry_penalty_last_n = 3; },
      [](engine::Request& r) { r.sampling.dry_sequence_breakers = {}; },
      [](engine::Request& r) { r.sampling.dry_sequence_breakers = {"a"}; },
      [](engine::Request& r) { r.sampling.mirostat = 1; },
      [](engine::Request& r) { r.sampling.mirostat_tau = 1; },
      [](engine::Request& r) { r.sampling.mirostat_eta = 1; },
      [](engine::Request& r) { r.sampling.min_keep = 1; },
      [](engine::Request& r) { r.sampling.ignore_eos = true; },
      [](engine::Request& r) { r.sampling.samplers = {"top_k"}; },
  };
  std::set<Key> seen = {key_of(base()), answer_key(base(), Key::of("other"), ""), answer_key(base(), kEngine, "2026-11-24")};
  ASSERT_EQ(seen.size(), 3u);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    engine::Request request = base();
    changes[i](request);
    EXPECT_TRUE(seen.insert(key_of(request)).second) << "change " << i;
  }
}

TEST(AnswerKey, TheUseOfPrefixesDoesNotChangeIt) {
  engine::Request request = base();
  request.use_prefix_cache = false;
  request.store_prefix = false;
  EXPECT_EQ(key_of(request), key_of(base()));
}

TEST(AnswerKey, MinusZeroIsZero) {
  engine::Request plus = base(), minus = base();
  plus.sampling.temperature = 0.0f;
  minus.sampling.temperature = -0.0f;
  EXPECT_EQ(key_of(plus), key_of(minus));
}

}   // namespace
}   // namespace tensorcache::answer
