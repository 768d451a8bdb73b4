// One connection of an HTTP client. Internal to http_client.cc.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/net/http.h"
#include "base/net/url.h"

namespace tensorcache::net {

using Clock = std::chrono::steady_clock;
using Endpoints = std::vector<boost::asio::ip::tcp::endpoint>;
using WireRequest = boost::beast::http::request<boost::beast::http::string_body>;

// The deadlines of one call. `total` is a time point, because a retry does not extend it.
struct Deadlines {
  Timeouts timeouts;
  Clock::time_point total = Clock::time_point::max();

  explicit Deadlines(const Timeouts& times);
  // RETURNS: the deadline of a step with the time limit `limit`.
  [[nodiscard]] Clock::time_point of(std::chrono::milliseconds limit) const;
};

// The progress of one attempt.
struct Progress {
  bool sent = false;       // a byte of the request was sent
  bool answered = false;   // a byte of the response arrived
};

class Connection {
 public:
  // `tls`: null for an unencrypted connection.
  Connection(const boost::asio::any_io_executor& executor, boost::asio::ssl::context* tls);

  [[nodiscard]] boost::asio::awaitable<std::optional<Error>> open(const Url& url, const Endpoints& endpoints, const Deadlines& deadlines);

  // Sends the request and reads the response. After an error the connection is unusable.
  [[nodiscard]] boost::asio::awaitable<std::optional<Error>> exchange(const WireRequest& message, const Deadlines& deadlines,
                                                                      std::size_t max_body_bytes, const BodySink& sink, Response& response,
                                                                      Progress& progress);

  // RETURNS: true if the last response left the connection usable for another request.
  [[nodiscard]] bool is_reusable() const { return reusable_; }
  // RETURNS: true if the server closed it, or sent unsolicited bytes, while it was idle.
  [[nodiscard]] bool is_stale();
  Clock::time_point idle_since;

 private:
  template <typename Stream>
  boost::asio::awaitable<std::optional<Error>> write(Stream& stream, const WireRequest& message, const Deadlines& deadlines, Progress& progress);
  template <typename Stream>
  boost::asio::awaitable<std::optional<Error>> read(Stream& stream, bool head_only, const Deadlines& deadlines, std::size_t max_body_bytes,
                                                    const BodySink& sink, Response& response, Progress& progress);
  boost::beast::tcp_stream& lowest();

  std::optional<boost::beast::tcp_stream> plain_;   // exactly one of the two is set
  std::optional<boost::beast::ssl_stream<boost::beast::tcp_stream>> tls_;
  boost::beast::flat_buffer buffer_;
  bool reusable_ = false;
};

}   // namespace tensorcache::net
