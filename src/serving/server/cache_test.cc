// What a client sees of stored and shared answers.
#include <boost/json/parse.hpp>

#include "testing/server/client.h"

namespace tensorcache::server {
namespace {

using namespace std::chrono_literals;

class CacheBehaviour : public testing::ServerTest {};

TEST_F(CacheBehaviour, TheSameRequestAgainIsTheSameAnswerWithoutTheEngine) {
  start({}, testing::FakeEngine::say({"Hel", "lo"}));
  const testing::ClientReply first = post(testing::chat_body("hi")), second = post(testing::chat_body("hi"));
  EXPECT_EQ(first.text(), "Hello");
  EXPECT_EQ(second.text(), "Hello");
  EXPECT_EQ(first.header("cache-status"), "TensorCache; fwd=miss; stored; detail=miss");
  EXPECT_EQ(second.header("cache-status"), "TensorCache; hit; detail=answer");
  EXPECT_EQ(first.header("age"), "");
  EXPECT_EQ(second.header("age"), "0");
  EXPECT_EQ(engine_->submitted(), 1u);
  EXPECT_EQ(first.json().at("usage").at("prompt_tokens_details").at("cached_tokens"), 0);
  EXPECT_EQ(second.json().at("usage").at("prompt_tokens_details").at("cached_tokens"), 7);
  EXPECT_NE(first.json().at("id"), second.json().at("id"));
  EXPECT_EQ(first.json().at("created"), second.json().at("created"));
}

TEST_F(CacheBehaviour, StreamedOrNotFromEitherKindOfFirstRequest) {
  start({}, testing::FakeEngine::say({"Hel", "", "lo"}));
  const std::string logprobs = R"("logprobs":true,"top_logprobs":1)", stream = R"("stream":true,"stream_options":{"include_usage":true},)";
  for (const std::string first_words : {"plain first", "stream first"}) {
    const bool plain_first = first_words == "plain first";
    const std::string plain = testing::chat_body(first_words, logprobs), streamed = testing::chat_body(first_words, stream + logprobs);
    const testing::ClientReply a = post(plain_first ? plain : streamed), b = post(plain_first ? streamed : plain),
                               c = post(plain_first ? plain : streamed);
    EXPECT_EQ(a.text(), "Hello");
    EXPECT_EQ(b.text(), "Hello");
    EXPECT_EQ(c.text(), "Hello");
    EXPECT_EQ(b.header("cache-status"), "TensorCache; hit; detail=answer");
    const testing::ClientReply& events = plain_first ? b : a;
    EXPECT_EQ(events.events().back(), "[DONE]");
    EXPECT_EQ(boost::json::parse(events.events()[1]).at("choices").at(0).at("logprobs").at("content").at(0).at("token"), "Hel");
    EXPECT_EQ(boost::json::parse(events.events()[events.events().size() - 2]).at("usage").at("completion_tokens"), 3);
    const testing::ClientReply& whole = plain_first ? a : b;
    EXPECT_EQ(whole.json().at("choices").at(0).at("logprobs").at("content").as_array().size(), 3u);
  }
  EXPECT_EQ(engine_->submitted(), 2u);
}

TEST_F(CacheBehaviour, SampledAnswersAreNotReused) {
  start({}, testing::FakeEngine::say({"x"}));
  const std::string sampled = R"({"messages":[{"role":"user","content":"hi"}],"temperature":1)";
  EXPECT_EQ(post(sampled + "}").header("cache-status"), "TensorCache; fwd=bypass; detail=\"sampled: set temperature=0 or seed\"");
  EXPECT_EQ(post(sampled + "}").header("cache-status"), "TensorCache; fwd=bypass; detail=\"sampled: set temperature=0 or seed\"");
  (void)post(sampled + R"(,"seed":7})");
  EXPECT_EQ(post(sampled + R"(,"seed":7})").header("cache-status"), "TensorCache; hit; detail=answer") << "a seed makes it repeatable";
  EXPECT_NE(post(sampled + R"(,"seed":8})").header("cache-status"), "TensorCache; hit; detail=answer");
  EXPECT_EQ(metric("tensorcache_bypasses_total{reason=\"sampled\"}"), 2);
}

TEST_F(CacheBehaviour, SampledAnswersAreReusedOnRequest) {
  ServerOptions options;
  options.cache_sampled = true;
  start(options, testing::FakeEngine::say({"x"}));
  const std::string sampled = R"({"messages":[{"role":"user","content":"hi"}],"temperature":1})";
  (void)post(sampled);
  EXPECT_EQ(post(sampled).header("cache-status"), "TensorCache; hit; detail=answer");
}

TEST_F(CacheBehaviour, AnswersCanBeSwitchedOff) {
  ServerOptions options;
  options.cache_answers = false;
  start(options, testing::FakeEngine::say({"x"}));
  (void)post(testing::chat_body("hi"));
  EXPECT_EQ(post(testing::chat_body("hi")).header("cache-status"), "TensorCache; fwd=bypass; detail=\"answers are off\"");
}

TEST_F(CacheBehaviour, NoCacheComputesAnewAndStores) {
  start({}, testing::FakeEngine::say({"x"}));
  (void)post(testing::chat_body("hi"));
  const testing::ClientReply anew = post(testing::chat_body("hi"), "Cache-Control: no-cache\r\n");
  EXPECT_EQ(anew.header("cache-status"), "TensorCache; fwd=request; stored; detail=miss");
  EXPECT_EQ(engine_->submitted(), 2u);
  EXPECT_FALSE(engine_->job(1).request->use_prefix_cache);
  EXPECT_TRUE(engine_->job(0).request->use_prefix_cache);
  EXPECT_EQ(post(testing::chat_body("hi")).header("cache-status"), "TensorCache; hit; detail=answer");
}

TEST_F(CacheBehaviour, NoStoreKeepsNothingButMayBeServed) {
  start({}, testing::FakeEngine::say({"x"}));
  EXPECT_EQ(post(testing::chat_body("hi"), "Cache-Control: no-store\r\n").header("cache-status"), "TensorCache; fwd=miss; detail=miss");
  EXPECT_FALSE(engine_->job(0).request->store_prefix);
  EXPECT_EQ(cache_.stats().kinds[static_cast<int>(Kind::kAnswer)].entries, 0u);
  (void)post(testing::chat_body("hi"));
  EXPECT_EQ(post(testing::chat_body("hi"), "Cache-Control: no-store\r\n").header("cache-status"), "TensorCache; hit; detail=answer");
}

TEST_F(CacheBehaviour, OnlyIfCached) {
  start({}, testing::FakeEngine::say({"x"}));
  const testing::ClientReply none = post(testing::chat_body("hi"), "Cache-Control: only-if-cached\r\n");
  EXPECT_EQ(none.status, 504);
  EXPECT_EQ(none.error("code"), "not_cached");
  EXPECT_EQ(engine_->submitted(), 0u);
  (void)post(testing::chat_body("hi"));
  EXPECT_EQ(post(testing::chat_body("hi"), "Cache-Control: only-if-cached\r\n").text(), "x");
}

TEST_F(CacheBehaviour, MaxAge) {
  start({}, testing::FakeEngine::say({"x"}));
  (void)post(testing::chat_body("hi"));
  EXPECT_EQ(post(testing::chat_body("hi"), "Cache-Control: max-age=60\r\n").header("cache-status"), "TensorCache; hit; detail=answer");
  clock_.advance(1ms);
  EXPECT_EQ(post(testing::chat_body("hi"), "Cache-Control: max-age=0\r\n").header("cache-status"), "TensorCache; fwd=request; stored; detail=miss");
  clock_.advance(1ms);
  EXPECT_EQ(post(testing::chat_body("hi"), "Cache-Control: foo, max-age=soon\r\n").header("cache-status"),
            "TensorCache; fwd=request; stored; detail=miss");
}

TEST_F(CacheBehaviour, TimeToLive) {
  ServerOptions options;
  options.answer_time_to_live = 60s;
  start(options, testing::FakeEngine::say({"x"}));
  (void)post(testing::chat_body("hi"));
  EXPECT_EQ(post(testing::chat_body("hi")).header("cache-status"), "TensorCache; hit; detail=answer");
  clock_.advance(60s);
  EXPECT_EQ(post(testing::chat_body("hi")).header("cache-status"), "TensorCache; fwd=miss; stored; detail=miss");
}

TEST_F(CacheBehaviour, AReusedPrefixIsSaid) {
  start();
  testing::Client one = client();
  one.post(testing::chat_body("hi"));
  const testing::FakeEngine::Job job = engine_->job(0);
  job.begin(1000, 960, engine::Fidelity::kExactKv);
  job.say("x");
  job.sink->on_finish({engine::FinishReason::kStop, {1000, 1, 960}, {}, {}, {}});
  const testing::ClientReply reply = one.read();
  EXPECT_EQ(reply.header("cache-status"), "TensorCache; fwd=miss; stored; detail=\"prefix; tokens=960; fidelity=exact-kv\"");
  EXPECT_EQ(reply.json().at("usage").at("prompt_tokens_details").at("cached_tokens"), 960);
}

TEST_F(CacheBehaviour, IdenticalRequestsInFlightShareOneComputation) {
  start();
  std::vector<testing::Client> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(client());
    clients.back().post(testing::chat_body("hi", i % 2 ? R"("stream":true)" : ""));
    if (i == 0) {
      ASSERT_TRUE(engine_->job(0).request);
    }
  }
  const testing::FakeEngine::Job job = engine_->job(0);
  job.begin();
  job.say("Hel");
  ASSERT_TRUE(clients[1].read_until("Hel")) << "a follower gets the stream while it is produced";
  clients.push_back(client());
  clients.back().post(testing::chat_body("hi", R"("stream":true)"));
  ASSERT_TRUE(clients.back().read_until("Hel")) << "who comes late gets it from the start";
  job.say("lo");
  job.finish();
  for (std::size_t i = 0; i < clients.size(); ++i) {
    const testing::ClientReply reply = clients[i].read();
    EXPECT_EQ(reply.text(), "Hello") << i;
    EXPECT_EQ(reply.header("cache-status").find("collapsed") != std::string::npos, i > 0) << i << reply.header("cache-status");
  }
  EXPECT_EQ(engine_->submitted(), 1u);
}

TEST_F(CacheBehaviour, ANoCacheRequestNeverJoins) {
  start();
  testing::Client one = client(), two = client();
  one.post(testing::chat_body("hi"));
  (void)engine_->job(0);
  two.post(testing::chat_body("hi"), "Cache-Control: no-cache\r\n");
  ASSERT_TRUE(engine_->job(1).request);
  for (int i = 0; i < 2; ++i) engine_->job(static_cast<std::size_t>(i)).begin(), engine_->job(static_cast<std::size_t>(i)).finish();
  EXPECT_EQ(one.read().status, 200);
  EXPECT_EQ(two.read().status, 200);
}

TEST_F(CacheBehaviour, SampledRequestsInFlightAreNotShared) {
  start();
  const std::string sampled = R"({"messages":[{"role":"user","content":"hi"}]})";
  testing::Client one = client(), two = client();
  one.post(sampled);
  two.post(sampled);
  ASSERT_TRUE(engine_->job(1).request);
}

ServerOptions two_tenants() {
  ServerOptions options;
  options.api_keys = {{"key-a", "a", false}, {"key-b", "b", false}, {"key-root", "ops", true}};
  return options;
}
constexpr std::string_view kA = "Authorization: Bearer key-a\r\n", kB = "Authorization: Bearer key-b\r\n",
                           kRoot = "Authorization: Bearer key-root\r\n";

TEST_F(CacheBehaviour, TenantsSeeNothingOfEachOther) {
  start(two_tenants(), testing::FakeEngine::say({"x"}));
  (void)post(testing::chat_body("hi"), kA);
  EXPECT_EQ(post(testing::chat_body("hi"), kA).header("cache-status"), "TensorCache; hit; detail=answer");
  EXPECT_EQ(post(testing::chat_body("hi"), std::string(kB) + "Cache-Control: only-if-cached\r\n").status, 504);
  EXPECT_EQ(post(testing::chat_body("hi"), kB).header("cache-status"), "TensorCache; fwd=miss; stored; detail=miss");
  EXPECT_NE(engine_->job(0).request->tenant, engine_->job(1).request->tenant);

  EXPECT_EQ(get("/cache", kA).json().at("kinds").at("answer").at("entries"), 1);
  EXPECT_EQ(get("/cache", kA).json().at("entries").as_array().size(), 1u);
  EXPECT_EQ(get("/cache", kA).json().as_object().count("hits"), 0u) << "the counters tell of the others";
  EXPECT_EQ(get("/cache", kRoot).json().at("kinds").at("answer").at("entries"), 2);
  EXPECT_EQ(get("/cache", kRoot).json().at("capacity_bytes"), 16 << 20);
  EXPECT_EQ(get("/cache", kA, "DELETE").json().at("removed"), 1);
  EXPECT_EQ(post(testing::chat_body("hi"), kB).header("cache-status"), "TensorCache; hit; detail=answer");
  EXPECT_EQ(get("/metrics", kA).status, 403);
  EXPECT_EQ(get("/metrics", kRoot).status, 200);
}

TEST_F(CacheBehaviour, AnAdminDeletesWhatAnyTenantHas) {
  start(two_tenants(), testing::FakeEngine::say({"x"}));
  const auto fill = [&] {
    for (const std::string_view key : {kA, kB}) (void)post(testing::chat_body("hi"), key);
  };
  fill();
  EXPECT_EQ(get("/cache?tenant=b", kA, "DELETE").status, 403);
  EXPECT_EQ(get("/cache?tenant=a", kA, "DELETE").json().at("removed"), 1);
  EXPECT_EQ(get("/cache?tenant=b", kRoot, "DELETE").json().at("removed"), 1);
  fill();
  for (const char* wrong : {"/cache?tenant=", "/cache?tenants=a", "/cache?tenant=a&x"}) EXPECT_EQ(get(wrong, kRoot, "DELETE").status, 400) << wrong;
  EXPECT_EQ(get("/cache?tenant=nobody", kRoot, "DELETE").json().at("removed"), 0);
  for (const char* wrong : {"/cache?model=", "/cache?older_than=", "/cache?older_than=soon", "/cache?older_than=1h&older_than=2h"}) {
    EXPECT_EQ(get(wrong, kRoot, "DELETE").status, 400) << wrong;
  }
  EXPECT_EQ(get("/cache?model=no%20such", kRoot, "DELETE").error("code"), "model_not_found");
  EXPECT_EQ(get("/cache?older_than=1h", kRoot, "DELETE").json().at("removed"), 0);
  EXPECT_EQ(get("/cache?tenant=nobody&older_than=0s", kRoot, "DELETE").json().at("removed"), 0);
  EXPECT_EQ(get("/cache", kRoot, "DELETE").json().at("removed"), 2);
}

TEST_F(CacheBehaviour, WhatIsSharedOnlyAnAdminDeletes) {
  ServerOptions options = two_tenants();
  options.share_across_tenants = true;
  start(options, testing::FakeEngine::say({"x"}));
  (void)post(testing::chat_body("hi"), kA);
  EXPECT_EQ(get("/cache", kB, "DELETE").status, 403);
  EXPECT_EQ(get("/cache", kRoot, "DELETE").json().at("removed"), 1);
}

TEST_F(CacheBehaviour, KeysCanBeChangedWhileItRuns) {
  start(two_tenants(), testing::FakeEngine::say({"x"}));
  server_->set_api_keys({{"key-b", "b", false}, {"key-new", "a", false}});
  EXPECT_EQ(post(testing::chat_body("hi"), kA).status, 401);
  EXPECT_EQ(post(testing::chat_body("hi"), kB).status, 200);
  EXPECT_EQ(post(testing::chat_body("hi"), "Authorization: Bearer key-new\r\n").status, 200);
  EXPECT_THROW(server_->set_api_keys({}), std::invalid_argument);
  EXPECT_THROW(server_->set_api_keys({{"k", "a", false}, {"k", "b", false}}), std::invalid_argument);
  EXPECT_EQ(post(testing::chat_body("hi"), kB).status, 200);
}

TEST_F(CacheBehaviour, TenantsInFlightAreNotShared) {
  start(two_tenants());
  testing::Client one = client(), two = client();
  one.post(testing::chat_body("hi"), kA);
  two.post(testing::chat_body("hi"), kB);
  EXPECT_TRUE(engine_->job(1).request);
}

TEST_F(CacheBehaviour, SharingIsASetting) {
  ServerOptions options = two_tenants();
  options.share_across_tenants = true;
  start(options, testing::FakeEngine::say({"x"}));
  (void)post(testing::chat_body("hi"), kA);
  EXPECT_EQ(post(testing::chat_body("hi"), kB).header("cache-status"), "TensorCache; hit; detail=answer");
}

TEST_F(CacheBehaviour, DeleteForgetsAndSaysHowMany) {
  start({}, testing::FakeEngine::say({"x"}));
  (void)post(testing::chat_body("one"));
  (void)post(testing::chat_body("two"));
  const testing::ClientReply listed = get("/cache?limit=1");
  EXPECT_EQ(listed.json().at("entries").as_array().size(), 1u);
  EXPECT_EQ(listed.json().at("entries").at(0).at("kind"), "answer");
  EXPECT_EQ(get("/cache?limit=x").status, 400);
  EXPECT_EQ(get("/cache", "", "DELETE").json().at("removed"), 2);
  EXPECT_EQ(post(testing::chat_body("one")).header("cache-status"), "TensorCache; fwd=miss; stored; detail=miss");
}

TEST_F(CacheBehaviour, WhatTheEnginesSaltSaysIsPartOfTheKey) {
  start({}, testing::FakeEngine::say({"x"}));
  engine_->salt = "monday";
  (void)post(testing::chat_body("hi"));
  engine_->salt = "tuesday";
  EXPECT_EQ(post(testing::chat_body("hi")).header("cache-status"), "TensorCache; fwd=miss; stored; detail=miss");
}

}   // namespace
}   // namespace tensorcache::server
