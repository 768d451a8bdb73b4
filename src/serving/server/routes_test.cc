// The routes, and what a client sees of wrong requests.
#include <boost/json/parse.hpp>

#include <mutex>
#include <thread>

#include "testing/server/client.h"
#include "testing/core/eventually.h"

namespace tensorcache::server {
namespace {

class Routes : public testing::ServerTest {};

TEST_F(Routes, AWholeChatAnswerHasOpenAisShape) {
  start({}, testing::FakeEngine::say({"Hi", " \"you\"\n"}));
  const testing::ClientReply reply = post(testing::chat_body("hello"));
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.header("content-type"), "application/json");
  EXPECT_EQ(reply.header("x-request-id").substr(0, 4), "req_");
  EXPECT_EQ(get("/health", "X-Request-Id: job-7.a_B\r\n").header("x-request-id"), "job-7.a_B");
  for (const std::string& wild : {std::string(129, 'x'), std::string("a b"), std::string("a\"b"), std::string("\xC3\xA9")}) {
    EXPECT_EQ(get("/health", "X-Request-Id: " + wild + "\r\n").header("x-request-id").substr(0, 4), "req_") << wild;
  }
  EXPECT_NE(reply.header("date"), "");
  const boost::json::value json = reply.json();
  EXPECT_EQ(json.at("object"), "chat.completion");
  EXPECT_TRUE(json.at("id").as_string().starts_with("chatcmpl-"));
  EXPECT_EQ(json.at("id").as_string().size(), 9u + 24u);
  EXPECT_EQ(json.at("model"), "fake-model");
  EXPECT_TRUE(json.at("system_fingerprint").as_string().starts_with("tc-"));
  EXPECT_EQ(json.at("choices").at(0).at("message"), boost::json::parse(R"({"role":"assistant","content":"Hi \"you\"\n","refusal":null})"));
  EXPECT_EQ(json.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_EQ(json.at("usage"),
            boost::json::parse(R"({"prompt_tokens":7,"completion_tokens":2,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":0}})"));
}

TEST_F(Routes, ACompletionHasItsOwnShapeAndLogprobs) {
  start({}, testing::FakeEngine::say({"é", "b"}));
  const testing::ClientReply reply = post(R"({"prompt":"x","temperature":0,"logprobs":1})", "", "/v1/completions");
  const boost::json::value json = reply.json();
  EXPECT_EQ(json.at("object"), "text_completion");
  EXPECT_TRUE(json.at("id").as_string().starts_with("cmpl-"));
  EXPECT_EQ(json.at("choices").at(0).at("text"), "éb");
  EXPECT_EQ(
      json.at("choices").at(0).at("logprobs"),
      boost::json::parse(R"({"tokens":["é","b"],"token_logprobs":[-0.25,-0.25],"top_logprobs":[{"alt0":-0.5},{"alt0":-0.5}],"text_offset":[0,1]})"));
  EXPECT_EQ(engine_->job(0).request->kind, engine::Request::Kind::kCompletion);
  EXPECT_EQ(engine_->job(0).request->prompt, "x");
}

TEST_F(Routes, AlsoWithoutV1) {
  start({}, testing::FakeEngine::say({"x"}));
  EXPECT_EQ(post(testing::chat_body("a"), "", "/chat/completions").status, 200);
  EXPECT_EQ(post(R"({"prompt":"a"})", "", "/completions?x=y").json().at("stop"), true) << "llama-server's own";
}

TEST_F(Routes, TheBudgetChangesWhileTheServerRuns) {
  start({}, testing::FakeEngine::say({"x"}));
  const auto put = [&](std::string_view body) {
    testing::Client one = client();
    one.request("PUT", "/cache/config", "", body);
    return one.read();
  };
  const std::uint64_t before = cache_.stats().capacity_bytes;
  EXPECT_EQ(get("/cache/config").json().at("memory").to_number<std::uint64_t>(), before);
  EXPECT_EQ(put(R"({"memory":"2MiB"})").body, R"({"memory":2097152,"memory_auto":false})");
  EXPECT_TRUE(testing::eventually([&] { return cache_.stats().capacity_bytes == 2'097'152; }));
  EXPECT_EQ(get("/cache/config").body, R"({"memory":2097152,"memory_auto":false})");
  EXPECT_EQ(put(R"({"memory":"1000TiB"})").error("param"), "memory") << "more than there is";
  EXPECT_EQ(put(R"({"memory":0})").error("param"), "memory");
  EXPECT_EQ(put(R"({"memory":"2 bananas"})").error("param"), "memory");
  EXPECT_EQ(put(R"({"memory":10})").error("param"), "memory");
  EXPECT_EQ(put(R"({"memory":-5})").status, 400);
  EXPECT_EQ(put(R"({"disk_size":"1GiB"})").error("param"), "disk_size") << "there is no disk";
  EXPECT_EQ(put(R"({"speed":9})").error("param"), "speed");
  EXPECT_EQ(put("nonsense").error("code"), "invalid_json");
  EXPECT_EQ(cache_.stats().capacity_bytes, 2'097'152u) << "what is refused changes nothing";
}

TEST_F(Routes, AutoFollowsTheMachineAndANumberEndsIt) {
  start({}, testing::FakeEngine::say({"x"}));
  const auto put = [&](std::string_view body) {
    testing::Client one = client();
    one.request("PUT", "/cache/config", "", body);
    return one.read();
  };
  EXPECT_NE(get("/metrics").body.find("\ntensorcache_memory_automatic 0"), std::string::npos);
  EXPECT_EQ(put(R"({"memory":"auto"})").json().at("memory_auto"), true);
  EXPECT_EQ(get("/cache").json().at("automatic"), true);
  EXPECT_TRUE(testing::eventually([&] { return metric("tensorcache_memory_available_bytes") > 0; }));
  EXPECT_NE(get("/metrics").body.find("\ntensorcache_memory_automatic 1"), std::string::npos);
  EXPECT_EQ(put(R"({"memory":"automatic"})").error("param"), "memory");
  EXPECT_EQ(get("/cache/config").json().at("memory_auto"), true);
  EXPECT_EQ(put(R"({"memory":"4MiB"})").body, R"({"memory":4194304,"memory_auto":false})");
  EXPECT_EQ(get("/cache").json().at("automatic"), false);
}

TEST_F(Routes, HealthSaysLoadingUntilReady) {
  ServerOptions options;
  options.api_keys = {{"secret", "t", false}};
  start(options, testing::FakeEngine::say({"x"}), false);
  EXPECT_EQ(get("/health").status, 503);
  EXPECT_EQ(get("/health").body, R"({"status":"loading"})");
  const testing::ClientReply early = post(testing::chat_body("hi"), "Authorization: Bearer secret\r\n");
  EXPECT_EQ(early.status, 503);
  EXPECT_EQ(early.error("code"), "loading");
  EXPECT_EQ(early.header("retry-after"), "1");
  EXPECT_EQ(get("/v1/models", "Authorization: Bearer secret\r\n").status, 503);
  server_->set_engine(*engine_);
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_EQ(get("/health").json().at("status"), "ok");
}

TEST_F(Routes, Models) {
  start();
  EXPECT_EQ(get("/v1/models").json().at("data").at(0).at("id"), "fake-model");
  EXPECT_EQ(get("/v1/models/fake-model").json().at("created"), 1'700'000'000);
  EXPECT_EQ(get("/v1/models/fake%2Dmodel").status, 200);
  const testing::ClientReply unknown = get("/v1/models/gpt-5");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(unknown.error("code"), "model_not_found");
}

TEST_F(Routes, AnyModelNameIsTheServedOneUnlessStrict) {
  start({}, testing::FakeEngine::say({"x"}));
  const testing::ClientReply reply = post(R"({"model":"gpt-5","messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.json().at("model"), "fake-model") << "the reply says what answered";
}

TEST_F(Routes, UnknownFieldsAreNamedInAHeader) {
  start({}, testing::FakeEngine::say({"x"}));
  for (const char* stream : {"false", "true"}) {
    const testing::ClientReply reply =
        post(std::string(R"({"verbosity":"low","messages":[{"role":"user","content":"hi"}],"stream":)") + stream + "}");
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.header("tensorcache-ignored-fields"), "verbosity");
  }
}

TEST_F(Routes, UnknownFieldsCanBeRefused) {
  ServerOptions options;
  options.unknown_fields = protocol::UnknownFields::kRefuse;
  start(options, testing::FakeEngine::say({"x"}));
  const testing::ClientReply reply = post(R"({"verbosity":"low","messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.error("param"), "verbosity");
}

TEST_F(Routes, AnUnknownModelIsNotFoundWithStrictModel) {
  ServerOptions options;
  options.strict_model = true;
  start(options, testing::FakeEngine::say({"x"}));
  const testing::ClientReply reply = post(R"({"model":"gpt-5","messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.error("code"), "model_not_found");
  EXPECT_EQ(reply.error("param"), "model");
  EXPECT_EQ(post(R"({"messages":[{"role":"user","content":"hi"}]})").status, 200) << "none named: the one there is";
}

TEST_F(Routes, NotFoundAndMethodNotAllowed) {
  start();
  EXPECT_EQ(get("/v1/embeddings").status, 404);
  EXPECT_EQ(get("/v1/embeddings").error("code"), "unknown_url");
  const testing::ClientReply reply = get("/v1/chat/completions");
  EXPECT_EQ(reply.status, 405);
  EXPECT_EQ(reply.header("allow"), "POST");
  EXPECT_EQ(get("/cache", "", "PUT").header("allow"), "GET, HEAD, DELETE");
}

TEST_F(Routes, PagesOfThisMachineMayReadTheReplies) {
  start({}, testing::FakeEngine::say({"x"}));
  const std::string page = "Origin: http://localhost:3000\r\n";
  const testing::ClientReply preflight =
      get("/v1/chat/completions", page + "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, x-stainless-os\r\n",
          "OPTIONS");
  EXPECT_EQ(preflight.status, 200);
  EXPECT_EQ(preflight.header("access-control-allow-origin"), "http://localhost:3000");
  EXPECT_EQ(preflight.header("access-control-allow-methods"), "POST");
  EXPECT_EQ(preflight.header("access-control-allow-headers"), "authorization, x-stainless-os");
  EXPECT_EQ(preflight.body, "");
  EXPECT_EQ(post(testing::chat_body("a"), page).header("access-control-allow-origin"), "http://localhost:3000");
  EXPECT_EQ(post("{", page).header("access-control-allow-origin"), "http://localhost:3000") << "errors too";
  EXPECT_EQ(post(testing::chat_body("a")).header("access-control-allow-origin"), "");
  const testing::ClientReply other = get("/v1/models", "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n", "OPTIONS");
  EXPECT_EQ(other.status, 403);
  EXPECT_EQ(other.header("access-control-allow-origin"), "");
  EXPECT_EQ(get("/nothing", page + "Access-Control-Request-Method: GET\r\n", "OPTIONS").status, 404);
  EXPECT_EQ(get("/v1/models", page, "OPTIONS").status, 405) << "no preflight";
}

TEST_F(Routes, OtherPagesByOptionAndAPreflightNeedsNoKey) {
  ServerOptions options;
  options.api_keys = {{"secret", "t", false}};
  options.cors_origins = {"https://app.example"};
  start(options);
  const std::string page = "Origin: https://app.example\r\n";
  EXPECT_EQ(get("/v1/models", page + "Access-Control-Request-Method: GET\r\n", "OPTIONS").status, 200);
  EXPECT_EQ(get("/v1/models", page).status, 401);
  EXPECT_EQ(get("/v1/models", page + "X-Api-Key: secret\r\n").status, 200) << "as Anthropic's clients send it";
  EXPECT_EQ(get("/v1/models", "X-Api-Key: wrong\r\n").status, 401);
  EXPECT_EQ(get("/v1/models", "Origin: https://other.example\r\nX-Api-Key: secret\r\n").header("access-control-allow-origin"), "");
}

TEST_F(Routes, HeadHasTheLengthButNoBody) {
  start();
  testing::Client one = client();
  one.request("HEAD", "/health");
  EXPECT_NE(one.read(true).header("content-length"), "0");
  one.request("GET", "/health");
  EXPECT_EQ(one.read().json().at("status"), "ok") << "nothing was left over on the connection";
}

TEST_F(Routes, ABadFieldIsNamed) {
  start();
  const testing::ClientReply reply = post(testing::chat_body("hi", R"("top_p":7)"));
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.error("param"), "top_p");
  EXPECT_EQ(reply.error("type"), "invalid_request_error");
  EXPECT_NE(reply.error("message").find("top_p"), std::string::npos);
  EXPECT_EQ(post("{").error("code"), "invalid_json");
  EXPECT_EQ(engine_->submitted(), 0u);
}

TEST_F(Routes, TheEnginesFailuresHaveTheirStatus) {
  start({}, [](const testing::FakeEngine::Job& job) {
    const std::string& what = job.request->messages[0].content;
    if (what == "big")
      job.fail(engine::Failure::Code::kContextOverflow, "too long");
    else if (what == "busy")
      job.fail(engine::Failure::Code::kOverloaded, "queue full");
    else if (what == "bad")
      job.fail(engine::Failure::Code::kBadRequest, "no", "messages");
    else
      job.fail(engine::Failure::Code::kInternal, "broken");
  });
  for (const std::string stream : {"\"stream\":false", "\"stream\":true"}) {
    EXPECT_EQ(post(testing::chat_body("big", stream)).error("code"), "context_length_exceeded");
    EXPECT_EQ(post(testing::chat_body("big", stream)).status, 400);
    EXPECT_EQ(post(testing::chat_body("busy", stream)).status, 503);
    EXPECT_EQ(post(testing::chat_body("busy", stream)).header("retry-after"), "1");
    EXPECT_EQ(post(testing::chat_body("bad", stream)).error("param"), "messages");
    EXPECT_EQ(post(testing::chat_body("other", stream)).status, 500);
    EXPECT_EQ(post(testing::chat_body("other", stream)).error("type"), "server_error");
  }
}

TEST_F(Routes, AKeyIsRequired) {
  ServerOptions options;
  options.api_keys = {{"secret", "t", false}};
  start(options, testing::FakeEngine::say({"x"}));
  for (const std::string header :
       {"", "Authorization: Bearer wrong\r\n", "Authorization: Bearer \r\n", "Authorization: Basic secret\r\n", "Authorization: secret\r\n"}) {
    const testing::ClientReply reply = post(testing::chat_body("hi"), header);
    EXPECT_EQ(reply.status, 401) << header;
    EXPECT_EQ(reply.error("code"), "invalid_api_key");
    EXPECT_NE(reply.header("www-authenticate"), "");
    EXPECT_EQ(reply.body.find("wrong"), std::string::npos);
  }
  EXPECT_EQ(post(testing::chat_body("hi"), "authorization: bearer secret\r\n").status, 200);
  EXPECT_EQ(get("/metrics").status, 401);
}

TEST_F(Routes, WebPagesOfOtherHostsAreRefused) {
  start({}, testing::FakeEngine::say({"x"}));
  testing::Client rebound = client();
  rebound.send("GET /health HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n");
  const testing::ClientReply reply = rebound.read();
  EXPECT_EQ(reply.status, 403);
  EXPECT_EQ(reply.error("code"), "host_not_allowed");
  EXPECT_EQ(get("/health", "Origin: https://evil.example\r\n").error("code"), "origin_not_allowed");
  EXPECT_EQ(get("/health", "Origin: null\r\n").status, 403);
  EXPECT_EQ(get("/health", "Origin: http://localhost:3000\r\n").status, 200);
}

TEST_F(Routes, WithKeysAnyHostNameIsFine) {
  ServerOptions options;
  options.api_keys = {{"secret", "t", false}};
  start(options);
  testing::Client one = client();
  one.send("GET /health HTTP/1.1\r\nHost: models.example\r\nOrigin: https://pages.example\r\n\r\n");
  EXPECT_EQ(one.read().status, 200);
}

TEST_F(Routes, MetricsCountWhatHappened) {
  start({}, testing::FakeEngine::say({"x"}));
  (void)post(testing::chat_body("hi"));
  (void)post(testing::chat_body("hi"));
  (void)post("{");
  EXPECT_EQ(metric(R"(tensorcache_answers_total{source="computed"})"), 1);
  EXPECT_EQ(metric(R"(tensorcache_answers_total{source="stored"})"), 1);
  EXPECT_EQ(metric(R"(tensorcache_http_replies_total{route="chat",status="200"})"), 2);
  EXPECT_EQ(metric(R"(tensorcache_http_replies_total{route="chat",status="400"})"), 1);
  EXPECT_EQ(metric(R"(tensorcache_first_token_seconds_count{source="computed"})"), 1);
  EXPECT_EQ(metric(R"(tensorcache_cache_entries{kind="answer"})"), 1);
  EXPECT_EQ(metric("tensorcache_engine_requests_total"), 1);
  EXPECT_EQ(metric("tensorcache_ready"), 1);
  EXPECT_EQ(metric("tensorcache_connections"), 1) << "the one that asks";
}

TEST_F(Routes, TwoHostHeadersAreRefused) {
  start({}, testing::FakeEngine::say({"x"}));
  EXPECT_EQ(get("/v1/models", "Host: localhost\r\n").status, 400);
}

TEST_F(Routes, EachRequestIsToldToTheLog) {
  struct Line {
    std::string id, tenant, method, target, route, source;
    int status;
    engine::Usage usage;
    double first, total;
  };
  std::mutex mutex;
  std::vector<Line> lines;
  ServerOptions options;
  options.api_keys = {{"key-a", "acme", false}};
  options.on_request = [&](const RequestRecord& r) {
    const std::lock_guard lock(mutex);
    lines.push_back({std::string(r.id), std::string(r.tenant), std::string(r.method), std::string(r.target), std::string(r.route),
                     std::string(r.source), r.status, r.usage, r.first_token_seconds, r.total_seconds});
    throw std::runtime_error("a log that fails is not the client's affair");
  };
  start(options, testing::FakeEngine::say({"x"}));
  const std::string key = "Authorization: Bearer key-a\r\nX-Request-Id: mine\r\n";
  EXPECT_EQ(post(testing::chat_body("hi"), key).status, 200);
  EXPECT_EQ(post(testing::chat_body("hi", R"("stream":true)"), key).status, 200);
  EXPECT_EQ(get("/v1/models?a=b", "").status, 401);
  EXPECT_EQ(post("{", key).status, 400);
  const auto count = [&] {
    const std::lock_guard lock(mutex);
    return lines.size();
  };
  EXPECT_TRUE(testing::eventually([&] { return count() == 4; }));
  server_->stop();
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].id, "mine");
  EXPECT_EQ(lines[0].tenant, "acme");
  EXPECT_EQ(lines[0].method + " " + lines[0].target, "POST /v1/chat/completions");
  EXPECT_EQ(lines[0].status, 200);
  EXPECT_EQ(lines[0].source, "computed");
  EXPECT_GT(lines[0].usage.prompt_tokens, 0);
  EXPECT_EQ(lines[0].usage.completion_tokens, 1);
  EXPECT_GT(lines[0].first, 0);
  EXPECT_GE(lines[0].total, lines[0].first);
  EXPECT_EQ(lines[1].source, "stored");
  EXPECT_EQ(lines[1].usage.cached_tokens, lines[1].usage.prompt_tokens);
  EXPECT_EQ(lines[2].target, "/v1/models");
  EXPECT_EQ(lines[2].status, 401);
  EXPECT_EQ(lines[2].tenant, "");
  EXPECT_EQ(lines[3].status, 400);
  EXPECT_EQ(lines[3].source, "");
}

}   // namespace
}   // namespace tensorcache::server
