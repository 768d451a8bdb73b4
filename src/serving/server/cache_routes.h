// GET and DELETE /cache, GET and PUT /cache/config.
#pragma once

#include <string_view>

#include "serving/server/http_message.h"
#include "serving/server/service.h"

namespace tensorcache::server {

// What is stored for the caller; for an admin, of everybody, with the budget and the counters. `?limit=` entries are listed, the most
// recently used first (default 20, at most 1000).
[[nodiscard]] Reply show_cache(const Service& service, const protocol::Caller& caller, std::string_view query);

// Forgets what is stored for the caller's tenant; for an admin, of everybody, or with `?tenant=` of that one. `model=` (a name, or a number as
// `tensorcache inspect` shows it) and `older_than=` (30d, 12h) narrow it down: all that are given must match. `scope=all` says that everybody's is
// meant, and refuses who may not. Where tenants share what is
// stored, only an admin may. {"removed": n}
[[nodiscard]] Reply clear_cache(Service& service, const protocol::Caller& caller, std::string_view query);

// How large the cache may be, for an admin: {"memory": bytes, "disk_size": bytes}.
[[nodiscard]] Reply show_config(const Service& service, const protocol::Caller& caller);
// The same object, or parts of it, with sizes as numbers or as texts like "4GiB". Replies at once; what is too much goes meanwhile.
[[nodiscard]] Reply change_config(Service& service, const protocol::Caller& caller, std::string_view body);

}   // namespace tensorcache::server
