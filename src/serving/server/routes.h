// Which handler answers which request: one table.
#pragma once

#include <span>
#include <string_view>

#include "serving/protocol/router.h"
#include "serving/server/exchange.h"

namespace tensorcache::server {

struct Handler {
  protocol::Route route;
  std::string_view method;   // HEAD is answered by GET's handler
  bool open;                 // anybody may ask; else the caller's API key is checked first
  bool reads_body;           // else the handler is called without waiting for a body
  // Sends the reply. True if the connection may serve another request.
  Task<bool> (*handle)(Exchange&);
};

[[nodiscard]] std::span<const Handler> handlers();

// Null: nobody answers this method there.
[[nodiscard]] const Handler* find_handler(protocol::Route route, std::string_view method);

}   // namespace tensorcache::server
