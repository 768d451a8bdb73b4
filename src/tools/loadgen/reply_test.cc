#include "tools/loadgen/reply.h"

#include <gtest/gtest.h>

namespace tensorcache::loadgen {
namespace {

using std::chrono::milliseconds;

struct ReplyTest : ::testing::Test {
  ReplyReader::Clock::time_point at(int ms) { return start + milliseconds(ms); }
  ReplyReader::Clock::time_point start = ReplyReader::Clock::now();
  Sample sample;
  ReplyReader reader{sample, start};
};

TEST_F(ReplyTest, AStreamIsTimedByItsContent) {
  reader.event(R"({"choices":[{"delta":{"role":"assistant","content":null},"finish_reason":null}]})", at(5));
  reader.event(R"({"choices":[{"delta":{"content":"Hel"},"logprobs":{"content":[{"token":"Hel","logprob":-0.5}]}}]})", at(100));
  reader.event(R"({"choices":[{"delta":{"content":"lo"},"logprobs":null}]})", at(120));
  reader.event(R"({"choices":[{"delta":{},"finish_reason":"stop"}]})", at(121));
  reader.event(R"({"choices":[],"usage":{"prompt_tokens":50,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":32}}})", at(122));
  reader.event("[DONE]", at(123));
  reader.end(at(124));
  EXPECT_EQ(sample.error, "");
  EXPECT_EQ(sample.text, "Hello");
  EXPECT_EQ(sample.finish_reason, "stop");
  EXPECT_DOUBLE_EQ(sample.ttft_ms, 100);
  ASSERT_EQ(sample.gap_ms.size(), 1u);
  EXPECT_DOUBLE_EQ(sample.gap_ms[0], 20);
  EXPECT_DOUBLE_EQ(sample.total_ms, 124);
  EXPECT_EQ(sample.prompt_tokens, 50u);
  EXPECT_EQ(sample.cached_tokens, 32u);
  EXPECT_EQ(sample.completion_tokens, 2u);
  ASSERT_EQ(sample.logprobs.size(), 1u);
  EXPECT_EQ(sample.logprobs[0].token, "Hel");
  EXPECT_DOUBLE_EQ(sample.logprobs[0].logprob, -0.5);
}

TEST_F(ReplyTest, AWholeReplyAndLlamaServersTimings) {
  reader.body(R"({"choices":[{"message":{"content":"Hi"},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":1},
                  "timings":{"cache_n":4}})",
              at(40));
  reader.end(at(40));
  EXPECT_EQ(sample.error, "");
  EXPECT_EQ(sample.text, "Hi");
  EXPECT_EQ(sample.cached_tokens, 4u);
  EXPECT_DOUBLE_EQ(sample.ttft_ms, 40);
}

TEST_F(ReplyTest, WhatGoesWrongIsSaid) {
  reader.failure(503, R"({"error":{"message":"the queue is full","type":"overloaded"}})");
  EXPECT_EQ(sample.error, "HTTP 503: the queue is full");
  reader.failure(500, "<html>");
  EXPECT_EQ(sample.error, "HTTP 500: <html>");
}

TEST_F(ReplyTest, ACutStreamAndAnErrorInsideOne) {
  reader.event(R"({"choices":[{"delta":{"content":"Hel"}}]})", at(1));
  reader.end(at(2));
  EXPECT_EQ(sample.error, "the reply ended early");
  Sample second;
  ReplyReader other(second, start);
  other.event(R"({"error":{"message":"out of memory"}})", at(1));
  other.end(at(2));
  EXPECT_EQ(second.error, "in the stream: out of memory");
  Sample third;
  ReplyReader broken(third, start);
  broken.event("{\"choices\":", at(1));
  EXPECT_EQ(third.error, "the stream holds an event that is no JSON object");
}

}   // namespace
}   // namespace tensorcache::loadgen
