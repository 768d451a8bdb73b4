// GET and DELETE /cache, GET and PUT /cache/config.
#pragma once

#include "serving/server/exchange.h"

namespace tensorcache::server {

// Each sends its reply. True if the connection may serve another request. What walks over all that is stored, or parses a body, takes its time
// on another thread.

// What is stored for the caller; for an admin, of everybody, with the budget and the counters. `?limit=` entries are listed, the most
// recently used first (default 20, at most 1000).
[[nodiscard]] Task<bool> show_cache(Exchange& exchange);

// Forgets what is stored for the caller's tenant; for an admin, of everybody, or with `?tenant=` of that one. `model=` (a name, or a number as
// `tensorcache inspect` shows it) and `older_than=` (30d, 12h) narrow it down: all that are given must match. `scope=all` says that everybody's is
// meant, and refuses who may not. Where tenants share what is stored, only an admin may. {"removed": n}; with "on_disk":"pending" where the
// disk takes longer than the client is kept waiting.
[[nodiscard]] Task<bool> clear_cache(Exchange& exchange);

// How large the cache may be, for an admin: {"memory": bytes, "disk_size": bytes}.
[[nodiscard]] Task<bool> show_config(Exchange& exchange);
// The same object, or parts of it, with sizes as numbers or as texts like "4GiB". Replies at once; what is too much goes meanwhile.
[[nodiscard]] Task<bool> change_config(Exchange& exchange);

}   // namespace tensorcache::server
