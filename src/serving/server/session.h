// One connection: reads requests and writes replies until either side closes.
#pragma once

#include <memory>

#include "serving/server/connection.h"
#include "serving/server/service.h"

namespace tensorcache::server {

// Serves a connection until it closes. Does not throw but for lack of memory.
[[nodiscard]] Task<void> serve(std::shared_ptr<Connection> connection, Service& service);

// For a connection too many: 503, then closes.
[[nodiscard]] Task<void> refuse(std::shared_ptr<Connection> connection, Service& service);

}   // namespace tensorcache::server
