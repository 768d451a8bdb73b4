// An HTTP/1.1 client for one server: TLS, timeouts, connection reuse.
//
//   boost::asio::io_context io;
//   net::HttpClient client(io.get_executor(), *net::parse_url("https://example.org"), {});
//   boost::asio::awaitable<void> ask() {
//     const net::Request request{.target = "/v1/models"};
//     const auto response = co_await client.send(request);
//     if (!response) report(response.error().text);
//     else if (response->status == 200) use(response->body);
//   }
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "base/core/result.h"
#include "base/net/http.h"
#include "base/net/url.h"

namespace tensorcache::net {

struct ClientOptions {
  Headers headers = {};   // sent with every request, before its own headers; for example Authorization
  std::string user_agent = "tensorcache";
  Timeouts timeouts = {};
  std::size_t max_idle = 8;                             // maximum number of idle connections that are kept
  std::chrono::milliseconds idle_timeout{30'000};       // connections that were idle for longer are not reused
  std::size_t max_body_bytes = std::size_t{64} << 20;   // of a response without a BodySink
  // Trusted certificates in PEM. Empty: the system's, or those of the environment variable
  // SSL_CERT_FILE.
  std::string ca_file = {};
};

// The certificate of an https server must be valid for the URL's host; verification cannot be
// disabled. Redirects are not followed, bodies not decompressed, proxies not used.
//
// THREADS: none of its own. All calls run on the executor's thread, or strand. Calls may overlap;
// each has its own connection. COST: opens a connection if none is idle; resolves the host once,
// and again if no address answered.
class HttpClient {
 public:
  // Throws std::runtime_error if `ca_file` cannot be read.
  HttpClient(boost::asio::any_io_executor executor, Url url, ClientOptions options);
  // REQUIRES: no send() is running.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Sends the request and reads the response; the body goes to `sink`, if given. A request on a
  // reused connection that the server had closed is retried once on a new one if no byte of a
  // response arrived, and either nothing was sent or Request::may_repeat(). Other failures are
  // returned. Cancelling the coroutine (asio's cancellation slots) closes its connection. REQUIRES:
  // `request` and `sink` outlive the call.
  // (Two functions, because GCC 12 miscompiles a default argument within a co_await expression.)
  [[nodiscard]] boost::asio::awaitable<Result<Response, Error>> send(const Request& request);
  [[nodiscard]] boost::asio::awaitable<Result<Response, Error>> send(const Request& request, const BodySink& sink);

  // Resolves the host now, blocking, to report a wrong name early.
  [[nodiscard]] Result<void, Error> resolve();

  [[nodiscard]] const Url& url() const;
  [[nodiscard]] std::size_t idle_connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Sends one request with its own client and event loop. THREADS: any; blocks for at most the
// timeouts, plus the system's time for a name lookup.
[[nodiscard]] Result<Response, Error> send_blocking(const Url& url, const ClientOptions& options, const Request& request, const BodySink& sink = {});

}   // namespace tensorcache::net
