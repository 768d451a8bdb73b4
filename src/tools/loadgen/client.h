// Sends requests to the server under test over reused connections, and measures the responses.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <string>

#include "base/core/result.h"
#include "base/net/http_client.h"
#include "tools/loadgen/measure.h"

namespace tensorcache::loadgen {

// THREADS: the one that runs `io`. Calls may overlap; each has its own connection.
class Client {
 public:
  using Clock = std::chrono::steady_clock;

  // `headers` are sent with each request. Throws std::runtime_error that names the host if it
  // cannot be resolved.
  Client(boost::asio::io_context& io, const net::Url& url, net::Headers headers);

  // Posts `body` and reads the response into `sample`; a failure becomes its `error`. Connects
  // first if needed, which counts into the time.
  boost::asio::awaitable<void> chat(const std::string& body, Clock::time_point deadline, Sample& sample);

  // RETURNS: the body of a response with status 200, or the error.
  boost::asio::awaitable<tensorcache::Result<std::string, std::string>> get(const std::string& path, Clock::time_point deadline);

 private:
  net::HttpClient http_;
};

}   // namespace tensorcache::loadgen
