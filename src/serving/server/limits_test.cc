// Sizes, times and counts a client must keep to.
#include <atomic>
#include <thread>
#include <vector>

#include "testing/server/client.h"
#include "testing/core/eventually.h"

namespace tensorcache::server {
namespace {

using namespace std::chrono_literals;

using testing::eventually;

class Limits : public testing::ServerTest {};

TEST_F(Limits, BodyTooLarge) {
  ServerOptions options;
  options.max_body_bytes = 1000;
  start(options, testing::FakeEngine::say({"x"}));
  const testing::ClientReply reply = post(testing::chat_body(std::string(2000, 'x')));
  EXPECT_EQ(reply.status, 413);
  EXPECT_EQ(reply.error("code"), "body_too_large");
  testing::Client chunked = client();
  chunked.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + std::string(0x800, 'x') +
               "\r\n0\r\n\r\n");
  EXPECT_EQ(chunked.read().status, 413);
  EXPECT_EQ(post(testing::chat_body("hi")).status, 200);
}

TEST_F(Limits, ALargeRefusedBodyStillGetsTheReply) {
  ServerOptions options;
  options.max_body_bytes = 1000;
  start(options);
  EXPECT_EQ(post(std::string(3 << 20, 'x')).status, 413);
}

TEST_F(Limits, HeadersTooLarge) {
  ServerOptions options;
  options.max_header_bytes = 1024;
  start(options);
  const testing::ClientReply reply = get("/health", "X-Padding: " + std::string(5000, 'x') + "\r\n");
  EXPECT_EQ(reply.status, 431);
  EXPECT_EQ(reply.error("code"), "headers_too_large");
}

TEST_F(Limits, AChunkedBodyIsUnderstood) {
  start({}, testing::FakeEngine::say({"x"}));
  const std::string body = testing::chat_body("hi");
  testing::Client one = client();
  char size[16];
  snprintf(size, sizeof size, "%zx", body.size());
  one.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(size) + "\r\n" + body +
           "\r\n0\r\n\r\n");
  EXPECT_EQ(one.read().text(), "x");
}

TEST_F(Limits, Expect100Continue) {
  ServerOptions options;
  options.max_body_bytes = 1000;
  start(options, testing::FakeEngine::say({"x"}));
  const std::string body = testing::chat_body("hi");
  testing::Client one = client();
  one.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n");
  EXPECT_EQ(one.read().status, 100);
  one.send(body);
  EXPECT_EQ(one.read().text(), "x");
  one.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n");
  EXPECT_EQ(one.read().status, 413) << "instead of being told to go on";
}

TEST_F(Limits, ASlowRequestTimesOut) {
  ServerOptions options;
  options.request_timeout = 150ms;
  start(options);
  testing::Client one = client();
  one.send("POST /v1/chat/completions HTTP/1.1\r\n");
  const auto drips = [&] {
    one.send("X: y\r\n");
    return one.is_readable();
  };
  EXPECT_TRUE(eventually(drips));
  const testing::ClientReply reply = one.read();
  EXPECT_EQ(reply.status, 408);
  EXPECT_EQ(reply.error("code"), "request_timeout");
  EXPECT_TRUE(one.closed_within(3s));
}

TEST_F(Limits, ASlowBodyTimesOut) {
  ServerOptions options;
  options.request_timeout = 150ms;
  start(options);
  testing::Client one = client();
  one.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{");
  EXPECT_EQ(one.read().status, 408);
}

TEST_F(Limits, TheTimeForARequestIsForAllOfIt) {
  ServerOptions options;
  options.request_timeout = 2s;
  start(options);
  testing::Client one = client();
  one.send("POST /v1/chat/completions HTTP/1.1\r\n");
  EXPECT_FALSE(one.closed_within(1s));
  testing::Client later = client();
  later.send("POST /v1/chat/completions HTTP/1.1\r\n");
  one.send("Host: localhost\r\nContent-Length: 100\r\n\r\n{");
  EXPECT_EQ(one.read().status, 408);
  EXPECT_FALSE(later.is_readable()) << "the end of the head did not begin the time anew";
  EXPECT_EQ(later.read().status, 408);
}

TEST_F(Limits, AFastRequestThatStallsTimesOutToo) {
  ServerOptions options;
  options.request_timeout = 100ms;
  options.max_body_bytes = std::uint64_t{4} << 30;
  start(options);
  for (int i = 0; i < 5; ++i) {
    testing::Client one = client();
    one.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string bytes = "1000\r\n" + std::string(0x1000, ' ') + "\r\n";
    // Over the moment of the deadline, so that data is there at once whenever the server looks.
    for (const auto end = std::chrono::steady_clock::now() + 115ms; std::chrono::steady_clock::now() < end;) one.send(bytes);
    EXPECT_TRUE(one.closed_within(4s));
  }
}

TEST_F(Limits, WhatAChunkedBodyCarriesBesideItsDataIsLimitedToo) {
  start();
  const std::string head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string& begin : {head + "1;extension=", head + "0\r\nTrailer: "}) {
    testing::Client one = client();
    one.send(begin + std::string(1 << 20, 'a'));
    EXPECT_EQ(one.read().status, 400);
  }
}

TEST_F(Limits, ABodyFromNobodyKnownIsNotAwaited) {
  ServerOptions options;
  options.api_keys = {{"secret", "t", false}};
  start(options);
  testing::Client one = client();
  one.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{");
  const testing::ClientReply reply = one.read();
  EXPECT_EQ(reply.status, 401);
  EXPECT_EQ(reply.header("connection"), "close");
}

TEST_F(Limits, ASilentConnectionIsClosed) {
  ServerOptions options;
  options.request_timeout = 100ms;
  start(options);
  EXPECT_TRUE(client().closed_within(3s));
}

TEST_F(Limits, AnIdleConnectionIsClosed) {
  ServerOptions options;
  options.keep_alive_timeout = 100ms;
  start(options);
  testing::Client one = client();
  one.request("GET", "/health");
  EXPECT_EQ(one.read().status, 200);
  EXPECT_TRUE(one.closed_within(3s));
}

TEST_F(Limits, NoTimeLimitWhileTheEngineComputes) {
  ServerOptions options;
  options.request_timeout = options.keep_alive_timeout = options.write_timeout = 50ms;
  start(options);
  testing::Client one = client();
  one.post(testing::chat_body("hi"));
  const testing::FakeEngine::Job job = engine_->job(0);
  EXPECT_FALSE(one.closed_within(200ms));
  job.begin();
  job.say("x");
  job.finish();
  EXPECT_EQ(one.read().text(), "x");
}

TEST_F(Limits, TooManyConnections) {
  ServerOptions options;
  options.max_connections = 2;
  start(options);
  testing::Client one = client(), two = client();
  one.request("GET", "/health");
  two.request("GET", "/health");
  EXPECT_EQ(one.read().status, 200);
  EXPECT_EQ(two.read().status, 200);
  testing::Client three = client();
  three.request("GET", "/health");
  const testing::ClientReply reply = three.read();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.header("retry-after"), "1");
  EXPECT_EQ(reply.header("connection"), "close");
  one.close();
  EXPECT_TRUE(three.closed_within(3s));
  // `three` stays open on its side and takes no place.
  EXPECT_TRUE(eventually([&] { return get("/health").status == 200; })) << "the place of a closed connection is free again";
}

// Each of them, not only the first few: a reset tells nobody to come back later.
TEST_F(Limits, HundredsTooManyAreAllTold) {
  ServerOptions options;
  options.max_connections = 1;
  start(options);
  testing::Client one = client();
  one.request("GET", "/health");
  EXPECT_EQ(one.read().status, 200);
  std::vector<testing::Client> more;
  for (int i = 0; i < 400; ++i) {
    more.push_back(client());
    more.back().request("GET", "/health");
  }
  int told = 0;
  for (testing::Client& each : more) {
    told += each.read().status == 503 ? 1 : 0;
    each.close();
  }
  EXPECT_EQ(told, 400);
}

// Half a million small messages take a second to parse.
TEST_F(Limits, ALargeBodyHoldsUpNobodyElse) {
#if defined(__SANITIZE_THREAD__)
  constexpr std::size_t kBodyBytes = 1 << 20;   // takes as long as a larger one without; the client waits five seconds
#elif defined(__SANITIZE_ADDRESS__)
  constexpr std::size_t kBodyBytes = 3 << 20;
#else
  constexpr std::size_t kBodyBytes = 15 << 20;
#endif
  start({}, testing::FakeEngine::say({"x"}));
  std::string body = R"({"model":"","temperature":0,"messages":[)";
  while (body.size() < kBodyBytes) body += R"({"role":"user","content":"x"},)";
  body.back() = ']';
  body += '}';
  std::atomic<bool> answered{false};
  std::atomic<int> status{0};
  const auto begin = std::chrono::steady_clock::now();
  std::thread large([&] {
    status = post(body).status;
    answered = true;
  });
  std::chrono::steady_clock::duration longest{0};
  while (!answered) {
    const auto asked = std::chrono::steady_clock::now();
    EXPECT_EQ(get("/health").status, 200);
    longest = std::max(longest, std::chrono::steady_clock::now() - asked);
  }
  large.join();
  const auto all = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(status, 200);
  EXPECT_LT(longest * 4, all) << "somebody waited for most of it";
}

TEST_F(Limits, MalformedHttp) {
  start();
  for (const std::string bytes : {"\r\nnonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
                                  "GET /health HTTP/1.1\r\n\r\n", "GET /health HTTP/1.1\r\nHost localhost\r\n\r\n"}) {
    testing::Client one = client();
    one.send(bytes);
    EXPECT_EQ(one.read().status, 400) << bytes;
  }
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(Limits, DeepNestingIsRefused) {
  start();
  const testing::ClientReply reply = post(R"({"messages":)" + std::string(10 << 20, '['));
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.error("code"), "invalid_json");
}

TEST_F(Limits, AClientThatSendsHalfARequestAndLeavesIsForgotten) {
  start();
  {
    client().send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{");
  }
  EXPECT_TRUE(eventually([&] { return metric("tensorcache_connections") == 1; }));
}

}   // namespace
}   // namespace tensorcache::server
