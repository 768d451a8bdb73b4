// Start, stop, and options that are refused.
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <stdexcept>
#include <thread>

#include "testing/server/client.h"
#include "testing/core/eventually.h"

namespace tensorcache::server {
namespace {

using namespace std::chrono_literals;

using testing::eventually;

class Lifecycle : public testing::ServerTest {};

bool connects(const char* address, std::uint16_t port) {
  const bool v6 = std::string_view(address).find(':') != std::string_view::npos;
  const int fd = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_in6 six{};
  sockaddr_in four{};
  six.sin6_family = AF_INET6;
  four.sin_family = AF_INET;
  six.sin6_port = four.sin_port = htons(port);
  ::inet_pton(v6 ? AF_INET6 : AF_INET, address, v6 ? static_cast<void*>(&six.sin6_addr) : static_cast<void*>(&four.sin_addr));
  const int error =
      v6 ? ::connect(fd, reinterpret_cast<sockaddr*>(&six), sizeof six) : ::connect(fd, reinterpret_cast<sockaddr*>(&four), sizeof four);
  ::close(fd);
  return error == 0;
}

std::string refused(ServerOptions options) {
  Cache cache(CacheOptions{.capacity_bytes = 1 << 20});
  try {
    const Server server(std::move(options), cache);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST_F(Lifecycle, WrongOptionsAreNamed) {
  EXPECT_EQ(refused({}), "");
  EXPECT_EQ(
      refused({.host = "0.0.0.0"}),
      "host: an address that is not loopback requires api_keys (or allow_open_host, if every client on the network may use and see everything)");
  EXPECT_EQ(refused({.host = "0.0.0.0", .allow_open_host = true}), "");
  EXPECT_EQ(refused({.host = "0.0.0.0", .api_keys = {{"k", "t", false}}}), "");
  EXPECT_EQ(refused({.api_keys = {{"very-secret", "a", false}, {"very-secret", "b", false}}}),
            "api_keys: the same key is given twice (tenant b)");   // and not which
  EXPECT_EQ(refused({.api_keys = {{"", "a", false}}}), "api_keys: a key is empty");
  EXPECT_EQ(refused({.max_connections = 0}), "max_connections: must be above 0");
  for (const char* host : {"localhost", "127.0.0.1", "::1", "[::1]", "127.9.9.9"}) EXPECT_EQ(refused({.host = host}), "") << host;
}

TEST_F(Lifecycle, ATakenPortIsSaidWithHostAndPort) {
  start();
  ServerOptions options;
  options.port = server_->port();
  Server second(options, cache_);
  try {
    second.start();
    ADD_FAILURE() << "two servers on one port";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("127.0.0.1:" + std::to_string(options.port)), std::string::npos) << error.what();
  }
}

TEST_F(Lifecycle, StopWithoutStartAndTwice) {
  Server never(ServerOptions{}, cache_);
  never.stop();
  start();
  server_->stop();
  server_->stop();
}

TEST_F(Lifecycle, StopClosesIdleConnectionsAtOnce) {
  ServerOptions options;
  options.drain_timeout = 10min;
  start(options);
  testing::Client idle = client();
  idle.request("GET", "/health");
  (void)idle.read();
  const auto begin = std::chrono::steady_clock::now();
  server_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2min) << "it waits for the idle connection";
  EXPECT_TRUE(idle.closed_within(60s));
}

TEST_F(Lifecycle, StopLetsAStreamFinish) {
  start();
  testing::Client one = client();
  one.post(testing::chat_body("hi", R"("stream":true)"));
  const testing::FakeEngine::Job job = engine_->job(0);
  job.begin();
  ASSERT_TRUE(one.read_until("assistant"));
  const std::uint16_t port = server_->port();
  const auto stopped = std::async(std::launch::async, [&] { server_->stop(); });
  EXPECT_TRUE(eventually([&] { return !connects("127.0.0.1", port); }));
  job.say("x");
  job.finish();
  const testing::ClientReply reply = one.read();
  EXPECT_TRUE(reply.whole);
  EXPECT_EQ(reply.text(), "x");
  EXPECT_EQ(stopped.wait_for(60s), std::future_status::ready);
  EXPECT_EQ(engine_->cancelled(), 0u);
}

TEST_F(Lifecycle, StopCutsOffWhatOutlivesTheDrain) {
  ServerOptions options;
  options.drain_timeout = 100ms;
  start(options);
  testing::Client streams = client(), waits = client();
  streams.post(testing::chat_body("a", R"("stream":true)"));
  engine_->job(0).begin();
  ASSERT_TRUE(streams.read_until("assistant"));
  waits.post(testing::chat_body("b"));
  ASSERT_TRUE(engine_->job(1).request);
  server_->stop();   // returns, though neither of them ever ends
  EXPECT_FALSE(streams.read().whole);
  EXPECT_EQ(engine_->cancelled(), 2u) << "before stop() returns, since the engine may go then";
}

TEST_F(Lifecycle, NothingNewIsAcceptedWhileStopping) {
  start();
  testing::Client one = client();
  one.post(testing::chat_body("hi"));
  const testing::FakeEngine::Job job = engine_->job(0);
  const std::uint16_t port = server_->port();
  const auto stopped = std::async(std::launch::async, [&] { server_->stop(); });
  EXPECT_TRUE(eventually([&] { return !connects("127.0.0.1", port); }));
  job.begin();
  job.finish();
  EXPECT_EQ(one.read().header("connection"), "close");
  stopped.wait();
  ServerOptions options;
  options.port = port;
  Server next(options, cache_);
  next.start();   // the port is free again
}

TEST_F(Lifecycle, StopUnderLoad) {
  start({}, testing::FakeEngine::say({"x", "y"}));
  std::atomic<bool> done{false};
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c)
    clients.emplace_back([&, c] {
      for (int i = 0; !done && i < 100'000; ++i) {
        testing::Client one(server_->port());
        if (done) return;
        one.post(testing::chat_body(std::to_string(c * 1000 + i % 50), i % 2 ? R"("stream":true)" : ""));
        const testing::ClientReply reply = one.read();
        if (reply.status == 0) return;   // the server has stopped
        ASSERT_EQ(reply.text(), "xy");
      }
    });
  EXPECT_TRUE(eventually([&] { return engine_->submitted() >= 60; }));
  done = true;
  server_->stop();
  for (std::thread& thread : clients) thread.join();
}

bool has_loopback_v6() {
  const int fd = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  const bool has = fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  if (fd >= 0) ::close(fd);
  return has;
}

TEST_F(Lifecycle, LocalhostIsAllOfItsAddresses) {
  ServerOptions options;
  options.host = "localhost";
  start(options);
  EXPECT_TRUE(connects("127.0.0.1", server_->port()));
  addrinfo hints{};
  hints.ai_family = AF_INET6;
  addrinfo* found = nullptr;
  const bool named = ::getaddrinfo("localhost", nullptr, &hints, &found) == 0;
  if (named) ::freeaddrinfo(found);
  if (named && has_loopback_v6()) {
    EXPECT_TRUE(connects("::1", server_->port()));
  }
}

}   // namespace
}   // namespace tensorcache::server
