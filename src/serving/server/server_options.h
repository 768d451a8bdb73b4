// Options of a server, and the record of a request for the log.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/protocol/request_draft.h"
#include "serving/protocol/tenants.h"
#include "store/sizing/capacity_controller.h"

namespace tensorcache::server {

// An answered request, for a log; without prompt or completion. Views are valid during the call.
struct RequestRecord {
  std::string_view id, tenant;       // tenant: "" if unknown
  std::string_view method, target;   // target: without its query
  std::string_view route;
  int status = 0;        // 499: the client left before the reply
  bool failed = false;   // a stream that began with 200 and ended with an error
  // Set for completions only.
  std::string_view source;   // "stored", "collapsed" or "computed"
  engine::Usage usage = {};
  double first_token_seconds = 0;   // since the request's last byte
  double total_seconds = 0;
};

struct ServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;                     // 0: any free port; see Server::port()
  std::vector<protocol::ApiKey> api_keys = {};   // none: all callers belong to the tenant "default"
  bool allow_open_host = false;                  // allows a host other than loopback without api_keys
  bool share_across_tenants = false;             // all tenants share one key space
  bool cache_answers = true;
  protocol::UnknownFields unknown_fields = protocol::UnknownFields::kIgnore;
  protocol::RequestDefaults defaults = {};
  std::vector<std::string> cors_origins = {};         // web pages that may use the server, besides those of this machine; "*": all
  bool strict_model = false;                          // refuses a model name other than the served one
  bool cache_sampled = false;                         // stores also responses with temperature > 0 and no seed
  std::chrono::milliseconds answer_time_to_live{0};   // 0: unlimited
  std::uint64_t max_body_bytes = 16u << 20;
  std::uint32_t max_header_bytes = 32u << 10;
  std::uint32_t max_connections = 1024;
  std::chrono::milliseconds request_timeout{30'000};      // to receive a complete request, from its first byte
  std::chrono::milliseconds keep_alive_timeout{75'000};   // idle time between requests
  std::chrono::milliseconds write_timeout{60'000};        // for a client that stops reading
  std::uint64_t min_write_bytes_per_second = 16u << 10;   // of a long reply; slower clients are disconnected
  std::chrono::milliseconds drain_timeout{10'000};        // after stop(): time for running requests to finish
  // The cache's controller, for PUT /cache/config. Null: the server creates one, which keeps the
  // capacity until it is changed.
  std::shared_ptr<sizing::CapacityController> memory = nullptr;
  // A DELETE with the header "TensorCache-Store" is rejected unless it names this store. Empty:
  // always.
  std::string store_id = "";
  // Called after each reply on the server's thread. REQUIRES: it does not block. May be empty.
  std::function<void(const RequestRecord&)> on_request = {};
};

}   // namespace tensorcache::server
