// One connection: reads requests and writes replies until either side closes.
#pragma once

#include <memory>
#include <string>

#include "serving/server/connection.h"
#include "serving/server/http_message.h"
#include "serving/protocol/router.h"
#include "serving/server/service.h"

namespace tensorcache::server {

// One request on its way to its reply.
struct Exchange {
  const std::shared_ptr<Connection>& connection;
  Service& service;
  HttpRequest& request;
  protocol::Route route = protocol::Route::kNone;
  Connection::Clock::time_point received = Connection::Clock::now();
  std::string id = {}, id_line = {};   // id_line: "X-Request-Id: ...\r\n"
  RequestRecord record = {};           // what a log is told, but for what is known here

  [[nodiscard]] bool keep_alive() const { return request.keep_alive && !service.draining; }
};

// Writes a whole reply and counts it. True if the connection may serve another request.
[[nodiscard]] Task<bool> send(Exchange& exchange, Reply reply);

// Serves a connection until it closes. Does not throw but for lack of memory.
[[nodiscard]] Task<void> serve(std::shared_ptr<Connection> connection, Service& service);

// For a connection too many: 503, then closes.
[[nodiscard]] Task<void> refuse(std::shared_ptr<Connection> connection, Service& service);

}   // namespace tensorcache::server
