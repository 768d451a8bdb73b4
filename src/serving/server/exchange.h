// One request on its way to its reply, as handlers see it.
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
  protocol::RouteMatch match = {};               // its views are of the request's target
  std::optional<protocol::Caller> caller = {};   // known where the route needs a key
  Connection::Clock::time_point received = Connection::Clock::now();
  std::string id = {}, id_line = {};   // id_line: "X-Request-Id: ...\r\n"
  RequestRecord record = {};           // what a log is told, but for what is known here

  [[nodiscard]] bool keep_alive() const { return request.keep_alive && !service.draining; }
};

// Writes a whole reply and counts it. True if the connection may serve another request.
[[nodiscard]] Task<bool> send(Exchange& exchange, Reply reply);

}   // namespace tensorcache::server
