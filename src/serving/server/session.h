// One connection: reads requests and writes replies until either side closes.
#pragma once

#include <memory>

#include "serving/server/connection.h"
#include "serving/server/service.h"

namespace tensorcache::server {

// Serves a connection until it closes. Throws std::bad_alloc only.
[[nodiscard]] Task<void> serve(std::shared_ptr<Connection> connection, Service& service);

// Replies 503 to a connection over the limit, then closes it.
[[nodiscard]] Task<void> refuse(std::shared_ptr<Connection> connection, Service& service);

}   // namespace tensorcache::server
