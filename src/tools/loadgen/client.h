// One keep-alive HTTP/1.1 connection to the server under test.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tools/loadgen/measure.h"
#include "base/net/url.h"

namespace tensorcache::loadgen {

using Headers = std::vector<std::pair<std::string, std::string>>;
using Endpoints = boost::asio::ip::tcp::resolver::results_type;

// Throws std::runtime_error that names the host.
[[nodiscard]] Endpoints resolve(boost::asio::io_context& io, const net::Url& url);

class Client {
 public:
  using Clock = std::chrono::steady_clock;

  // `endpoints`, `url` and `headers` must outlive this.
  Client(boost::asio::io_context& io, const Endpoints& endpoints, const net::Url& url, const Headers& headers);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Posts `body` and reads the reply into `sample`; whatever goes wrong is its `error`. Connects first if it must: that time counts.
  boost::asio::awaitable<void> chat(const std::string& body, Clock::time_point deadline, Sample& sample);

  // The reply's body, or an empty one with `error` set.
  boost::asio::awaitable<std::string> get(std::string path, Clock::time_point deadline, std::string& error);

  // Sends a DELETE. The reply's body whatever its status, or an empty one with `error` set.
  boost::asio::awaitable<std::string> remove(std::string path, Clock::time_point deadline, int& status, std::string& error);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}   // namespace tensorcache::loadgen
