// What a server is told at its start, and what it tells of each request.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/protocol/tenants.h"
#include "store/sizing/capacity_controller.h"

namespace tensorcache::server {

// One request that was answered, for a log; never a word of what was asked or answered. The views hold during the call.
struct RequestRecord {
  std::string_view id, tenant;       // tenant: "" where nobody was known
  std::string_view method, target;   // target: without its query
  std::string_view route;
  int status = 0;        // 499: the client left before there was a reply
  bool failed = false;   // a stream that began well and ended in an error
  // Of a completion; else empty and 0.
  std::string_view source;   // "stored", "collapsed" or "computed"
  engine::Usage usage = {};
  double first_token_seconds = 0;   // from the request's last byte
  double total_seconds = 0;
};

struct ServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;                     // 0: any free one; see Server::port()
  std::vector<protocol::ApiKey> api_keys = {};   // none: everybody is the tenant "default"
  bool allow_open_host = false;                  // a host that is not loopback, without api_keys
  bool share_across_tenants = false;             // all tenants use one key space
  bool cache_answers = true;
  bool cache_sampled = false;                         // also answers with temperature > 0 and no seed
  std::chrono::milliseconds answer_time_to_live{0};   // 0: for ever
  std::uint64_t max_body_bytes = 16u << 20;
  std::uint32_t max_header_bytes = 32u << 10;
  std::uint32_t max_connections = 1024;
  std::chrono::milliseconds request_timeout{30'000};      // to receive one whole request, from its first byte
  std::chrono::milliseconds keep_alive_timeout{75'000};   // idle between requests
  std::chrono::milliseconds write_timeout{60'000};        // a client that does not read
  std::uint64_t min_write_bytes_per_second = 16u << 10;   // of a long reply; a client that reads slower is cut off
  std::chrono::milliseconds drain_timeout{10'000};        // after stop(): what runs may finish for this long
  // Of the cache, for PUT /cache/config. Null: the server makes one, which leaves the size as it is until it is told otherwise.
  std::shared_ptr<sizing::CapacityController> memory = nullptr;
  // A DELETE that says which store it means (header "TensorCache-Store") is refused unless it is this one. Empty: none is.
  std::string store_id = "";
  // Called after each reply, on the server's thread: it must not block. Empty: nothing is.
  std::function<void(const RequestRecord&)> on_request = {};
};

}   // namespace tensorcache::server
