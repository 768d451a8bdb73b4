// A request and its reply in progress, as passed to handlers.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "serving/protocol/router.h"
#include "serving/protocol/tenants.h"
#include "serving/server/connection.h"
#include "serving/server/http_message.h"
#include "serving/server/service.h"

namespace tensorcache::server {

struct Exchange {
  const std::shared_ptr<Connection>& connection;
  Service& service;
  HttpRequest& request;
  protocol::RouteMatch match = {};               // views into the request's target
  std::optional<protocol::Caller> caller = {};   // known if the route requires a key
  Connection::Clock::time_point received = Connection::Clock::now();
  std::string id = {}, common_lines = {};   // common_lines: X-Request-Id, and what a browser must know
  RequestRecord record = {};                // for the log; completed by send()

  [[nodiscard]] bool keep_alive() const { return request.keep_alive && !service.draining; }
};

// Sends a complete reply and counts it. RETURNS true if the connection may serve another request.
[[nodiscard]] Task<bool> send(Exchange& exchange, Reply reply);

}   // namespace tensorcache::server
