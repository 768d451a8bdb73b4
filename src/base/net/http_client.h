// An HTTP/1.1 client for one server: TLS, timeouts, and connections that are kept for the next
// request.
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
  Headers headers = {};   // sent with every request, before its own: Authorization, for example
  std::string user_agent = "tensorcache";
  Timeouts timeouts = {};
  std::size_t max_idle = 8;                             // connections that are kept while nothing is sent over them
  std::chrono::milliseconds idle_timeout{30'000};       // a connection that was kept longer is not used again
  std::size_t max_body_bytes = std::size_t{64} << 20;   // of a response that no BodySink takes
  // Certificates to trust, in PEM. Empty: the system's, or those of the environment variable
  // SSL_CERT_FILE.
  std::string ca_file = {};
};

// The certificate of an https server must be valid and name the URL's host; there is no switch to
// skip that. Redirects are not followed, bodies not decompressed, proxies not used.
//
// THREADS: none of its own. All calls run on the executor's one thread, or strand. Calls may
// overlap: each has a connection of its own. COST: a connection is opened where none is kept; the
// host is resolved for the first, and again after no address answered.
class HttpClient {
 public:
  // Throws std::runtime_error if `ca_file` cannot be read.
  HttpClient(boost::asio::any_io_executor executor, Url url, ClientOptions options);
  // REQUIRES: no send() is under way.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Sends the request and reads the response; its body goes to `sink` where there is one. A request
  // over a kept connection that the server closed meanwhile is sent once more over a new one, if
  // nothing of a response came and either nothing was sent or Request::may_repeat(). Any other
  // failure is returned. A coroutine that is cancelled (asio's cancellation slots) closes its
  // connection. REQUIRES: `request` and `sink` live until this has returned.
  // (Two functions, as GCC 12 miscompiles a default argument within a co_await expression.)
  [[nodiscard]] boost::asio::awaitable<Result<Response, Error>> send(const Request& request);
  [[nodiscard]] boost::asio::awaitable<Result<Response, Error>> send(const Request& request, const BodySink& sink);

  // Resolves the host now, blocking, instead of with the first request: to tell a wrong name early.
  [[nodiscard]] Result<void, Error> resolve();

  [[nodiscard]] const Url& url() const;
  [[nodiscard]] std::size_t idle_connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One request, with a client and a loop of its own. THREADS: any; blocks as long as the timeouts
// say, and where the host is a name, as long as the system takes to look it up.
[[nodiscard]] Result<Response, Error> send_blocking(const Url& url, const ClientOptions& options, const Request& request, const BodySink& sink = {});

}   // namespace tensorcache::net
