// Asks the server under test, over kept connections, and measures its answers.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <string>

#include "base/core/result.h"
#include "base/net/http_client.h"
#include "tools/loadgen/measure.h"

namespace tensorcache::loadgen {

// THREADS: the one that runs `io`. Calls may overlap; each has a connection of its own.
class Client {
 public:
  using Clock = std::chrono::steady_clock;

  // `headers` are sent with each request. Throws std::runtime_error that names the host if it has no address.
  Client(boost::asio::io_context& io, const net::Url& url, net::Headers headers);

  // Posts `body` and reads the reply into `sample`; whatever goes wrong is its `error`. Connects first if it must: that
  // time counts.
  boost::asio::awaitable<void> chat(const std::string& body, Clock::time_point deadline, Sample& sample);

  // RETURNS: the body of a reply with status 200, or what went wrong.
  boost::asio::awaitable<tensorcache::Result<std::string, std::string>> get(const std::string& path, Clock::time_point deadline);

 private:
  net::HttpClient http_;
};

}   // namespace tensorcache::loadgen
