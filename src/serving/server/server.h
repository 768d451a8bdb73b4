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

  // Binds, listens, and serves on a thread of its own; /health says "loading" (503) until
  // set_engine(). Throws std::runtime_error that names host and port.
  void start();
  [[nodiscard]] std::uint16_t port() const;

  // Call once. REQUIRES: the engine outlives the server or stop(). THREADS: any.
  void set_engine(engine::Engine& engine);

  // Replaces the API keys from the next request on. Throws std::invalid_argument for no keys if the
  // server was created with keys, and for keys if it was created without. THREADS: any.
  void set_api_keys(const std::vector<protocol::ApiKey>& keys);

  // Stops accepting, lets running requests finish for `drain_timeout`, cancels the rest, joins. May
  // be called twice. THREADS: any.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}   // namespace tensorcache::server
