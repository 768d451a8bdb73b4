// The OpenAI-compatible HTTP server: one thread of coroutines over the response cache and an
// engine.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/protocol/tenants.h"
#include "serving/server/server_options.h"
#include "tensorcache/cache.h"

namespace tensorcache::server {

class Server {
 public:
  // Throws std::invalid_argument that names the option.
  Server(ServerOptions options, Cache& cache);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Binds and listens, and serves from a thread of its own; /health says "loading" (503) until set_engine.
  // Throws std::runtime_error that names host and port.
  void start();
  [[nodiscard]] std::uint16_t port() const;

  // From any thread, once. The engine must outlive the server or its stop().
  void set_engine(engine::Engine& engine);

  // Instead of those it was made with, from the next request on. Any thread. A server that was made with keys must get some, and one without
  // none: throws std::invalid_argument.
  void set_api_keys(const std::vector<protocol::ApiKey>& keys);

  // Stops accepting, lets what runs finish for `drain_timeout`, cuts off the rest, joins. Any thread; may be called twice.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}   // namespace tensorcache::server
