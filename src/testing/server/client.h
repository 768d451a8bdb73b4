// A plain HTTP client over a raw socket, and a server with an engine that does as it is told. For
// tests.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/value.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "testing/engine/fake_engine.h"
#include "serving/server/server.h"
#include "testing/core/fake_clock.h"

namespace tensorcache::testing {

struct ClientReply {
  int status = 0;                               // 0: none came
  std::map<std::string, std::string> headers;   // names in lower case
  std::string body;                             // chunks joined
  bool whole = false;                           // false: the connection ended, or nothing came for five seconds, before its end

  [[nodiscard]] std::string header(const std::string& name) const;
  [[nodiscard]] boost::json::value json() const;
  // The data of each event of a stream.
  [[nodiscard]] std::vector<std::string> events() const;
  // The text of a whole or streamed chat answer.
  [[nodiscard]] std::string text() const;
  // What OpenAI's error envelope holds, or "".
  [[nodiscard]] std::string error(const std::string& member) const;
};

class Client {
 public:
  explicit Client(std::uint16_t port, int receive_buffer_bytes = 0);
  ~Client() { close(); }
  Client(Client&& other) noexcept : fd_(other.fd_), buffer_(std::move(other.buffer_)) { other.fd_ = -1; }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(std::string_view bytes) const;
  void request(std::string_view method, std::string_view target, std::string_view headers = "", std::string_view body = "") const;
  void post(std::string_view body, std::string_view headers = "", std::string_view target = "/v1/chat/completions") const;
  [[nodiscard]] ClientReply read(bool head_only = false);
  // Until the body so far holds `text`; false if it ends before.
  [[nodiscard]] bool read_until(std::string_view text);
  // True if the server closes within the time.
  [[nodiscard]] bool closed_within(std::chrono::milliseconds time);
  // RETURNS whether something can be read, or the server has closed.
  [[nodiscard]] bool is_readable() const;
  // Reads and forgets up to so many bytes, if they are there. True at the end.
  [[nodiscard]] bool ended_after_reading(std::size_t bytes) const;
  void close();

 private:
  bool fill(std::chrono::milliseconds time = std::chrono::seconds(5));
  bool read_chunks(std::size_t at, ClientReply& reply);
  int fd_ = -1;
  std::string buffer_;
};

// {"model":..., "messages":[{"role":"user","content":words}], "temperature":0, more}
std::string chat_body(std::string_view words, std::string_view more = "");

class ServerTest : public ::testing::Test {
 protected:
  // Once, before the first request; with `ready` off the model is still loading.
  void start(server::ServerOptions options = {}, FakeEngine::Script script = {}, bool ready = true);
  [[nodiscard]] Client client() const { return Client(server_->port()); }
  // One request over a connection of its own.
  [[nodiscard]] ClientReply post(std::string_view body, std::string_view headers = "", std::string_view target = "/v1/chat/completions") const;
  [[nodiscard]] ClientReply get(std::string_view target, std::string_view headers = "", std::string_view method = "GET") const;
  // The value of a metric's line, or -1.
  [[nodiscard]] double metric(const std::string& line, std::string_view headers = "") const;

  FakeClock clock_;   // of the cache
  Cache cache_{CacheOptions{.capacity_bytes = 16 << 20, .clock = clock_.function()}};
  std::unique_ptr<FakeEngine> engine_;   // lives longer than the server
  std::unique_ptr<server::Server> server_;
};

}   // namespace tensorcache::testing
