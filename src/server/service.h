// What all sessions share.
#pragma once

#include <atomic>
#include <thread>

#include "answer/flight.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/tenants.h"
#include "tensorcache/cache.h"

namespace tensorcache {

struct Service {
  // Throws std::invalid_argument that names the option.
  Service(ServerOptions options_in, Cache& cache_in);

  const ServerOptions options;
  Cache& cache;
  const Tenants tenants;
  const bool local_only;   // loopback without keys: see guard.h
  Metrics metrics;
  Flights flights;
  std::atomic<Engine*> engine{nullptr};   // null while the model loads
  bool draining = false;                  // the server's thread only

  // On a thread of its own, because evicting much takes long. False: the last time is not over. The server's thread only.
  bool resize_memory(std::uint64_t bytes);

 private:
  std::atomic<bool> resizing_{false};
  std::jthread resizer_;
};

}   // namespace tensorcache
