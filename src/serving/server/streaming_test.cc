// Streams, and clients that leave or do not read.
#include <boost/json/parse.hpp>

#include <chrono>
#include <thread>

#include "testing/server/client.h"
#include "testing/core/eventually.h"

namespace tensorcache::server {
namespace {

using namespace std::chrono_literals;

using testing::eventually;

class Streaming : public testing::ServerTest {};

constexpr const char* kStream = R"("stream":true)";

TEST_F(Streaming, EventsHaveOpenAisShape) {
  start({}, testing::FakeEngine::say({"Hel", "", "lo"}));
  const testing::ClientReply reply = post(testing::chat_body("hi", R"("stream":true,"stream_options":{"include_usage":true})"));
  EXPECT_EQ(reply.header("content-type"), "text/event-stream; charset=utf-8");
  const std::vector<std::string> events = reply.events();
  ASSERT_EQ(events.size(), 6u) << reply.body;
  std::vector<boost::json::value> chunks;
  for (std::size_t i = 0; i < 5; ++i) chunks.push_back(boost::json::parse(events[i]));
  EXPECT_EQ(chunks[0].at("object"), "chat.completion.chunk");
  EXPECT_EQ(chunks[0].at("choices").at(0).at("delta"), boost::json::parse(R"({"role":"assistant","content":null})"));
  EXPECT_TRUE(chunks[0].at("usage").is_null());
  EXPECT_EQ(chunks[1].at("choices").at(0).at("delta"), boost::json::parse(R"({"content":"Hel"})"));
  EXPECT_TRUE(chunks[1].at("choices").at(0).at("finish_reason").is_null());
  EXPECT_EQ(chunks[2].at("choices").at(0).at("delta"), boost::json::parse(R"({"content":"lo"})"));
  EXPECT_EQ(chunks[3].at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_TRUE(chunks[4].at("choices").as_array().empty());
  EXPECT_EQ(chunks[4].at("usage").at("total_tokens"), 10);
  EXPECT_EQ(events[5], "[DONE]");
  for (const auto& chunk : chunks) EXPECT_EQ(chunk.at("id"), chunks[0].at("id"));
}

TEST_F(Streaming, NoUsageUnlessAskedFor) {
  start({}, testing::FakeEngine::say({"x"}));
  EXPECT_EQ(post(testing::chat_body("hi", kStream)).body.find("usage"), std::string::npos);
}

TEST_F(Streaming, TheConnectionServesAnotherRequestAfterwards) {
  start({}, testing::FakeEngine::say({"x"}));
  testing::Client one = client();
  for (const char* words : {"a", "b", "a"}) {
    one.post(testing::chat_body(words, kStream));
    EXPECT_EQ(one.read().text(), "x");
  }
}

TEST_F(Streaming, RequestsSentAheadAreAnsweredInTurn) {
  start({}, testing::FakeEngine::say({"x"}));
  testing::Client one = client();
  one.post(testing::chat_body("a"));
  one.post(testing::chat_body("b", kStream));
  one.request("GET", "/health");
  EXPECT_EQ(one.read().text(), "x");
  EXPECT_EQ(one.read().text(), "x");
  EXPECT_EQ(one.read().status, 200);
}

TEST_F(Streaming, AHitWithManyDeltasArrivesWhole) {
  std::vector<std::string> words(5000, "word ");
  start({}, testing::FakeEngine::say(words));
  const testing::ClientReply first = post(testing::chat_body("hi", kStream)), second = post(testing::chat_body("hi", kStream));
  EXPECT_EQ(first.text().size(), 25'000u);
  EXPECT_EQ(second.text(), first.text());
  EXPECT_EQ(second.header("cache-status"), "TensorCache; hit; detail=answer");
}

TEST_F(Streaming, AFailureInTheMiddleIsAnEventAndThenTheEnd) {
  start({}, [](const testing::FakeEngine::Job& job) {
    job.begin();
    job.say("half");
    job.fail(engine::Failure::Code::kInternal, "lost it");
  });
  const testing::ClientReply reply = post(testing::chat_body("hi", kStream));
  EXPECT_EQ(reply.status, 200);
  EXPECT_FALSE(reply.whole);
  const auto events = reply.events();
  EXPECT_EQ(boost::json::parse(events.back()).at("error").at("message"), "lost it");
  EXPECT_EQ(cache_.stats().kinds[static_cast<int>(Kind::kAnswer)].entries, 0u);
}

TEST_F(Streaming, Http10GetsABareStream) {
  start({}, testing::FakeEngine::say({"x"}));
  testing::Client one = client();
  const std::string body = testing::chat_body("hi", kStream);
  one.send("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  const testing::ClientReply reply = one.read();
  EXPECT_EQ(reply.header("transfer-encoding"), "");
  EXPECT_EQ(reply.text(), "x");
  EXPECT_TRUE(one.closed_within(3s));
}

TEST_F(Streaming, AClientThatLeavesWhileQueuedCancels) {
  start();
  for (const char* stream : {"\"stream\":false", kStream}) {
    const std::size_t before = engine_->cancelled();
    {
      testing::Client one = client();
      one.post(testing::chat_body("hi", stream));
      ASSERT_TRUE(engine_->job(before).request);
    }
    EXPECT_TRUE(engine_->wait_cancelled(before + 1));
  }
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(Streaming, AClientThatLeavesWhileStreamingCancels) {
  start();
  {
    testing::Client one = client();
    one.post(testing::chat_body("hi", kStream));
    engine_->job(0).begin();
    engine_->job(0).say("x");
    ASSERT_TRUE(one.read_until("\"x\""));
  }
  EXPECT_TRUE(engine_->wait_cancelled(1));
  EXPECT_TRUE(eventually([&] { return metric("tensorcache_clients_gone_total") == 1; }));
  EXPECT_EQ(cache_.stats().kinds[static_cast<int>(Kind::kAnswer)].entries, 0u);
}

TEST_F(Streaming, AClientThatLeavesDoesNotDisturbTheOthers) {
  start();
  testing::Client stays = client();
  {
    testing::Client leaves = client();
    leaves.post(testing::chat_body("hi", kStream));
    engine_->job(0).begin();
    stays.post(testing::chat_body("hi", kStream));
    engine_->job(0).say("x");
    ASSERT_TRUE(leaves.read_until("\"x\""));
    ASSERT_TRUE(stays.read_until("\"x\""));
  }
  EXPECT_TRUE(eventually([&] { return metric("tensorcache_clients_gone_total") == 1; }));
  engine_->job(0).say("y");
  engine_->job(0).finish();
  EXPECT_EQ(stays.read().text(), "xy");
  EXPECT_EQ(engine_->cancelled(), 0u);
}

TEST_F(Streaming, AClientThatDoesNotReadIsCutOffAndTheOthersAreNot) {
  ServerOptions options;
  options.write_timeout = 200ms;
  start(options);
  testing::Client stuck = testing::Client(server_->port(), 4096), reads = client();
  stuck.post(testing::chat_body("hi", kStream));
  const testing::FakeEngine::Job job = engine_->job(0);
  job.begin();
  reads.post(testing::chat_body("hi", kStream));
  ASSERT_TRUE(reads.read_until("assistant"));
  const std::string large(1 << 20, 'w');
  std::thread player([&] {
    for (int i = 0; i < 8; ++i) job.say(large);
    job.finish();
  });
  EXPECT_EQ(reads.read().text().size(), 8 * large.size());
  player.join();
  EXPECT_TRUE(eventually([&] { return metric("tensorcache_connections") <= 2; })) << "the reading one and the one that asks";
}

TEST_F(Streaming, AClientThatDripsALongReplyIsCutOff) {
  ServerOptions options;
  options.write_timeout = 300ms;
  options.min_write_bytes_per_second = 8 << 20;
  start(options, testing::FakeEngine::say({std::string(16 << 20, 'w')}));
  testing::Client drips = testing::Client(server_->port(), 4096);
  drips.post(testing::chat_body("hi"));
  // 4 KiB a millisecond is half of that, and the server never waits long for any of them. One that
  // is not cut off has read all after some seconds, and then stays connected.
  EXPECT_TRUE(eventually([&] { return drips.ended_after_reading(4096); }));
}

// Proxies give up where no header comes; a request that waits for its place can only fail for the
// server's sake.
TEST_F(Streaming, OneThatWaitsForItsPlaceHasItsHeadersAlready) {
  start();
  testing::Client waiting = client();
  waiting.post(testing::chat_body("hi", R"("stream":true)"));
  testing::FakeEngine::Job job = engine_->job(0);
  ASSERT_TRUE(job.request);
  job.accept();
  EXPECT_TRUE(waiting.read_until("\"role\":\"assistant\"")) << "before anything is computed";
  job.begin(7, 3);
  job.say("x");
  job.finish();
  EXPECT_EQ(waiting.read().text(), "x");

  testing::Client refused = client();
  refused.post(testing::chat_body("ho", R"("stream":true)"));
  engine_->job(1).fail(engine::Failure::Code::kOverloaded);
  EXPECT_EQ(refused.read().status, 503) << "what can be refused keeps its own status";
}

}   // namespace
}   // namespace tensorcache::server
