// GET and DELETE /cache.
#pragma once

#include <string_view>

#include "server/http_message.h"
#include "server/service.h"

namespace tensorcache {

// What is stored for the caller; for an admin, of everybody, with the budget and the counters. `?limit=` entries are listed, the most
// recently used first (default 20, at most 1000).
[[nodiscard]] Reply show_cache(const Service& service, const Caller& caller, std::string_view query);

// Forgets what is stored for the caller's tenant, an admin's too. {"removed": n}
[[nodiscard]] Reply clear_cache(Service& service, const Caller& caller);

}   // namespace tensorcache
