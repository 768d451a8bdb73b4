// State shared by all sessions.
#pragma once

#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <memory>
#include <set>
#include <string>

#include "serving/answer/flight.h"
#include "store/sizing/capacity_controller.h"
#include "serving/server/connection.h"
#include "serving/server/metrics.h"
#include "serving/server/server_options.h"
#include "serving/protocol/tenants.h"
#include "tensorcache/cache.h"

namespace tensorcache::server {

struct Service {
  // Throws std::invalid_argument that names the option.
  Service(ServerOptions options_in, Cache& cache_in);

  const ServerOptions options;
  Cache& cache;
  const std::shared_ptr<sizing::CapacityController> memory;
  protocol::Tenants tenants;   // used by the server's thread only
  const bool local_only;       // loopback without keys, see protocol/origin_check.h
  Metrics metrics;
  answer::Flights flights;
  std::atomic<engine::Engine*> engine{nullptr};   // null while the model is loading
  bool draining = false;                          // used by the server's thread only
  bool told_of_sampled = false;                   // used by the server's thread only
  std::set<std::string> told_of_fields;           // the same: unknown ones that were logged
  asio::thread_pool workers{2};                   // see elsewhere.h; last member, so that it ends before its jobs' data is destroyed
};

}   // namespace tensorcache::server
