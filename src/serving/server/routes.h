// The table that maps requests to handlers.
#pragma once

#include <span>
#include <string_view>

#include "serving/protocol/router.h"
#include "serving/server/exchange.h"

namespace tensorcache::server {

struct Handler {
  protocol::Route route;
  std::string_view method;   // HEAD is served by the handler of GET
  bool open;                 // no API key required; otherwise it is checked first
  bool reads_body;           // false: the handler is called without reading a body
  // Sends the reply. RETURNS true if the connection may serve another request.
  Task<bool> (*handle)(Exchange&);
};

[[nodiscard]] std::span<const Handler> handlers();

// RETURNS null if the route has no such method.
[[nodiscard]] const Handler* find_handler(protocol::Route route, std::string_view method);

}   // namespace tensorcache::server
