#include "base/net/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <future>
#include <optional>

#include "testing/net/raw_server.h"

namespace tensorcache::net {
namespace {

using std::chrono::milliseconds;
using tensorcache::testing::RawPeer;
using tensorcache::testing::RawServer;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Reply = Result<Response, Error>;

constexpr const char* kHello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

// `sink` by value: it must live as long as the coroutine.
boost::asio::awaitable<void> send_to(HttpClient& client, const Request& request, BodySink sink, std::optional<Reply>& reply) {
  Reply got = co_await client.send(request, sink);
  reply.emplace(std::move(got));
}

// A client with a loop that runs while something is sent.
struct Caller {
  explicit Caller(const std::string& url, ClientOptions options = {}) : client(io.get_executor(), *parse_url(url), std::move(options)) {}
  Reply send(const Request& request, const BodySink& sink = {}) {
    std::optional<Reply> reply;
    boost::asio::co_spawn(io, send_to(client, request, sink, reply), [](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
    });
    io.restart();
    io.run();
    return *std::move(reply);
  }
  boost::asio::io_context io;
  HttpClient client;
};

void answer_all(RawPeer& peer, const std::string& reply) {
  while (!peer.read_request().empty()) peer.send(reply);
}

ErrorKind kind_of(const Reply& reply) { return reply.error().kind; }

TEST(HttpClient, SendsMethodTargetHeadersAndBody) {
  std::promise<std::string> request;
  RawServer server([&](RawPeer& peer, int) {
    request.set_value(peer.read_request());
    peer.send("HTTP/1.1 404 Not Found\r\nX-One: 1\r\nContent-Length: 4\r\n\r\ngone");
  });
  Caller caller(server.url() + "/api/", {.headers = {{"Authorization", "Bearer key"}}, .user_agent = "tester"});
  const Reply reply = caller.send({.method = "POST", .target = "/v1/x?y=z", .headers = {{"X-Own", "me"}}, .body = "body"});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 404u);
  EXPECT_EQ(reply->header("x-one"), "1");
  EXPECT_EQ(reply->header("x-two"), "");
  EXPECT_EQ(reply->body, "gone");
  const std::string sent = request.get_future().get();
  EXPECT_THAT(sent, StartsWith("POST /api/v1/x?y=z HTTP/1.1\r\n"));
  EXPECT_THAT(sent, HasSubstr("Host: 127.0.0.1:" + std::to_string(server.port()) + "\r\n"));
  for (const char* line : {"Authorization: Bearer key\r\n", "User-Agent: tester\r\n", "X-Own: me\r\n", "Content-Length: 4\r\n"})
    EXPECT_THAT(sent, HasSubstr(line));
  EXPECT_TRUE(sent.ends_with("\r\n\r\nbody"));
}

TEST(HttpClient, RefusesARequestThatCannotBeSent) {
  Caller caller("http://127.0.0.1:9");
  for (const Request& wrong : {Request{.method = ""}, Request{.method = "GE T"}, Request{.target = "x"}, Request{.target = "/a b"},
                               Request{.headers = {{"X", "a\r\nY: b"}}}, Request{.headers = {{"X:", "a"}}}}) {
    const Reply reply = caller.send(wrong);
    ASSERT_FALSE(reply);
    EXPECT_EQ(kind_of(reply), ErrorKind::kInvalid) << reply.error().text;
  }
}

TEST(HttpClient, KeepsAConnectionForTheNextRequest) {
  RawServer server([](RawPeer& peer, int) { answer_all(peer, kHello); });
  Caller caller(server.url());
  const Reply first = caller.send({}), second = caller.send({.method = "POST", .body = "x"});
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(first->reused);
  EXPECT_TRUE(second->reused);
  EXPECT_EQ(server.accepted(), 1);
  EXPECT_EQ(caller.client.idle_connections(), 1u);
}

TEST(HttpClient, OpensAConnectionForEachRequestAtOnceAndKeepsAsManyAsItMay) {
  RawServer server([](RawPeer& peer, int) { answer_all(peer, kHello); });
  Caller caller(server.url(), {.max_idle = 2});
  const Request request;
  std::optional<Reply> replies[3];
  for (auto& reply : replies) boost::asio::co_spawn(caller.io, send_to(caller.client, request, {}, reply), [](const std::exception_ptr&) {});
  caller.io.run();
  for (const auto& reply : replies) EXPECT_TRUE(reply && *reply);
  EXPECT_EQ(server.accepted(), 3);
  EXPECT_EQ(caller.client.idle_connections(), 2u);
}

TEST(HttpClient, DoesNotUseAConnectionThatWasIdleTooLong) {
  RawServer server([](RawPeer& peer, int) { answer_all(peer, kHello); });
  Caller caller(server.url(), {.idle_timeout = milliseconds(0)});
  EXPECT_TRUE(caller.send({}));
  EXPECT_TRUE(caller.send({}));
  EXPECT_EQ(server.accepted(), 2);
}

TEST(HttpClient, ReadsChunksAndThenKeepsTheConnection) {
  RawServer server([](RawPeer& peer, int) {
    answer_all(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: 1\r\n\r\n");
  });
  Caller caller(server.url());
  for (int i = 0; i < 2; ++i) {
    const Reply reply = caller.send({});
    ASSERT_TRUE(reply) << reply.error().text;
    EXPECT_EQ(reply->body, "abcdefg");
  }
  EXPECT_EQ(server.accepted(), 1);
}

TEST(HttpClient, ReadsABodyWithoutLengthUntilTheServerCloses) {
  RawServer server([](RawPeer& peer, int) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\n\r\nuntil ");
    peer.send("the end");
  });
  Caller caller(server.url());
  const Reply reply = caller.send({});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "until the end");
  EXPECT_EQ(caller.client.idle_connections(), 0u);
}

TEST(HttpClient, ClosesWhereTheServerSaysSo) {
  RawServer server([](RawPeer& peer, int) { answer_all(peer, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"); });
  Caller caller(server.url());
  EXPECT_TRUE(caller.send({}));
  EXPECT_EQ(caller.client.idle_connections(), 0u);
}

TEST(HttpClient, ReadsNoBodyAfterHeadAndSkipsEarlyHints) {
  RawServer server([](RawPeer& peer, int) {
    peer.read_request();
    peer.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    peer.read_request();
    peer.send(kHello);
    peer.wait_for_end();
  });
  Caller caller(server.url());
  const Reply head = caller.send({.method = "HEAD"}), after = caller.send({});
  ASSERT_TRUE(head && after);
  EXPECT_EQ(head->status, 200u);
  EXPECT_EQ(head->body, "");
  EXPECT_EQ(after->body, "hello");
  EXPECT_EQ(server.accepted(), 1);
}

TEST(HttpClient, GivesTheBodyToASinkAsItComes) {
  std::promise<void> first_seen;
  RawServer server([&](RawPeer& peer, int) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    first_seen.get_future().wait();
    peer.send("3\r\ntwo\r\n0\r\n\r\n");
  });
  Caller caller(server.url());
  std::vector<std::string> pieces;
  const Reply reply = caller.send({}, [&](const Response& head, std::string_view piece) {
    EXPECT_EQ(head.header("content-type"), "text/event-stream");
    pieces.emplace_back(piece);
    if (pieces.size() == 1) first_seen.set_value();
    return true;
  });
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "");
  EXPECT_THAT(pieces, ::testing::ElementsAre("one", "two"));
}

TEST(HttpClient, StopsWhereTheSinkSaysSo) {
  RawServer server([](RawPeer& peer, int) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
    peer.wait_for_end();
  });
  Caller caller(server.url());
  const Reply reply = caller.send({}, [](const Response&, std::string_view) { return false; });
  ASSERT_FALSE(reply);
  EXPECT_EQ(kind_of(reply), ErrorKind::kStopped);
  EXPECT_EQ(caller.client.idle_connections(), 0u);
}

TEST(HttpClient, LimitsABodyThatItHolds) {
  RawServer server([](RawPeer& peer, int) { answer_all(peer, kHello); });
  Caller caller(server.url(), {.max_body_bytes = 4});
  EXPECT_EQ(kind_of(caller.send({})), ErrorKind::kTooLarge);
}

TEST(HttpClient, SaysWhichWaitWasTooLong) {
  const auto with = [](Timeouts timeouts) { return Request{.timeouts = timeouts}; };
  RawServer silent([](RawPeer& peer, int) { peer.wait_for_end(); });
  RawServer stuck([](RawPeer& peer, int) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    peer.wait_for_end();
  });
  const Reply no_byte = Caller(silent.url()).send(with({.first_byte = milliseconds(50)}));
  ASSERT_FALSE(no_byte);
  EXPECT_EQ(kind_of(no_byte), ErrorKind::kTimeout);
  EXPECT_EQ(no_byte.error().text, "timed out: no response within 50ms");
  const Reply no_more = Caller(stuck.url()).send(with({.between_bytes = milliseconds(50)}));
  ASSERT_FALSE(no_more);
  EXPECT_EQ(no_more.error().text, "timed out: no data received within 50ms");
  for (RawServer* server : {&silent, &stuck}) {
    const Reply total = Caller(server->url()).send(with({.total = milliseconds(50)}));
    ASSERT_FALSE(total);
    EXPECT_EQ(kind_of(total), ErrorKind::kTimeout);
    EXPECT_EQ(total.error().text, "timed out");
  }
}

TEST(HttpClient, LimitsTheTimeOfAServerThatTakesNothing) {
  std::promise<void> over;
  RawServer server([&](RawPeer&, int) { over.get_future().wait(); });
  const Request large{.method = "POST", .body = std::string(64 << 20, 'x'), .timeouts = Timeouts{.between_bytes = milliseconds(100)}};
  const Reply reply = Caller(server.url()).send(large);
  over.set_value();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().text, "timed out: the server accepted no data within 100ms");
}

TEST(HttpClient, SaysThatTheServerClosedInTheMiddle) {
  for (const char* part : {"HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
                           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"}) {
    RawServer server([&](RawPeer& peer, int) {
      peer.read_request();
      peer.send(part);
    });
    const Reply reply = Caller(server.url()).send({});
    ASSERT_FALSE(reply) << part;
    EXPECT_EQ(kind_of(reply), ErrorKind::kClosed);
    EXPECT_EQ(reply.error().text, "the server closed the connection");
    EXPECT_EQ(server.accepted(), 1);   // part of a response came: never sent again
  }
}

TEST(HttpClient, DoesNotRepeatARequestOverANewConnection) {
  RawServer server([](RawPeer& peer, int) { peer.read_request(); });
  EXPECT_EQ(kind_of(Caller(server.url()).send({})), ErrorKind::kClosed);
  EXPECT_EQ(server.accepted(), 1);
}

// The server closes the first connection after one response: before the next request, or when it
// has read that one.
Reply second_reply(const Request& request, bool reads_it, int* accepted) {
  std::promise<void> closed;
  RawServer server([&](RawPeer& peer, int number) {
    peer.read_request();
    peer.send(kHello);
    if (number > 0) return peer.wait_for_end();
    if (reads_it) {
      peer.read_request();
    } else {
      peer.reset();
      closed.set_value();
    }
  });
  Caller caller(server.url());
  EXPECT_TRUE(caller.send({}));
  if (!reads_it) closed.get_future().wait();
  Reply reply = caller.send(request);
  *accepted = server.accepted();
  return reply;
}

TEST(HttpClient, ReplacesAKeptConnectionThatTheServerClosedMeanwhile) {
  int accepted = 0;
  for (const char* method : {"GET", "POST"}) {
    const Reply reply = second_reply({.method = method}, false, &accepted);
    ASSERT_TRUE(reply) << reply.error().text;
    EXPECT_FALSE(reply->reused);
    EXPECT_EQ(accepted, 2);
  }
}

TEST(HttpClient, RepeatsOnceWhereNoResponseCameAndTheMethodAllowsIt) {
  int accepted = 0;
  EXPECT_TRUE(second_reply({.method = "GET"}, true, &accepted));
  EXPECT_TRUE(second_reply({.method = "POST", .repeatable = true}, true, &accepted));
  EXPECT_EQ(accepted, 2);
  const Reply not_again = second_reply({.method = "POST"}, true, &accepted);
  ASSERT_FALSE(not_again);
  EXPECT_EQ(kind_of(not_again), ErrorKind::kClosed);
  EXPECT_EQ(accepted, 1);
}

TEST(HttpClient, SaysThatNobodyListens) {
  std::string url;
  {
    const RawServer gone([](RawPeer&, int) {});
    url = gone.url();
  }
  Caller caller(url);
  for (int i = 0; i < 2; ++i) {
    const Reply reply = caller.send({});
    ASSERT_FALSE(reply);
    EXPECT_EQ(kind_of(reply), ErrorKind::kConnect);
    EXPECT_THAT(reply.error().text, StartsWith("cannot connect to 127.0.0.1:"));
  }
}

TEST(HttpClient, SaysThatTheHostIsNotFound) {
  Caller caller("http://no-such-host.invalid");
  const auto resolved = caller.client.resolve();
  ASSERT_FALSE(resolved);
  EXPECT_EQ(resolved.error().kind, ErrorKind::kResolve);
  const Reply reply = caller.send({});
  ASSERT_FALSE(reply);
  EXPECT_EQ(kind_of(reply), ErrorKind::kResolve);
  EXPECT_THAT(reply.error().text, HasSubstr("cannot find the host no-such-host.invalid: "));
}

TEST(HttpClient, SaysThatItIsNotHttp) {
  RawServer server([](RawPeer& peer, int) {
    peer.read_request();
    peer.send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  });
  EXPECT_EQ(kind_of(Caller(server.url()).send({})), ErrorKind::kProtocol);
}

TEST(HttpClient, ClosesTheConnectionOfACancelledCoroutine) {
  std::promise<void> ended;
  boost::asio::cancellation_signal stop;
  Caller* waiting = nullptr;
  RawServer server([&](RawPeer& peer, int) {
    peer.read_request();
    boost::asio::post(waiting->io, [&] { stop.emit(boost::asio::cancellation_type::terminal); });
    peer.wait_for_end();
    ended.set_value();
  });
  Caller caller(server.url());
  waiting = &caller;
  const Request request;
  std::optional<Reply> reply;
  const auto done = [](const std::exception_ptr&) {};
  boost::asio::co_spawn(caller.io, send_to(caller.client, request, {}, reply), boost::asio::bind_cancellation_slot(stop.slot(), done));
  caller.io.run();
  ended.get_future().wait();
  ASSERT_TRUE(reply);
  EXPECT_EQ(kind_of(*reply), ErrorKind::kCancelled);
}

// When no operation of the client's is under way.
TEST(HttpClient, IsCancelledByTheSinkOfItsOwnBody) {
  boost::asio::cancellation_signal stop;
  RawServer server([](RawPeer& peer, int) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    peer.wait_for_end();
  });
  Caller caller(server.url());
  const Request request;
  std::optional<Reply> reply;
  const auto sink = [&](const Response&, std::string_view) {
    stop.emit(boost::asio::cancellation_type::terminal);
    return true;
  };
  const auto done = [](const std::exception_ptr&) {};
  boost::asio::co_spawn(caller.io, send_to(caller.client, request, sink, reply), boost::asio::bind_cancellation_slot(stop.slot(), done));
  caller.io.run();
  ASSERT_TRUE(reply);
  EXPECT_EQ(kind_of(*reply), ErrorKind::kCancelled);
}

TEST(HttpClient, SendsOneRequestWithoutALoopOfTheCaller) {
  RawServer server([](RawPeer& peer, int) { answer_all(peer, kHello); });
  const Reply reply = send_blocking(*parse_url(server.url()), {}, {});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "hello");
}

}   // namespace
}   // namespace tensorcache::net
