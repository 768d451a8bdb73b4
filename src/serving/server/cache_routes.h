// GET and DELETE /cache, GET and PUT /cache/config.
#pragma once

#include "serving/server/exchange.h"

namespace tensorcache::server {

// Each handler sends its reply and returns true if the connection may serve another request. Walks
// over all entries and the parsing of bodies run on another thread.

// Shows the caller's entries; an admin sees all entries, the budget and the counters. `?limit=`
// entries are listed, most recently used first (default 20, at most 1000).
[[nodiscard]] Task<bool> show_cache(Exchange& exchange);

// Deletes the entries of the caller's tenant. An admin deletes all entries, or with `?tenant=`
// those of one tenant. `model=` (a name, or a number as shown by `tensorcache inspect`) and
// `older_than=` (30d, 12h) restrict the selection; all given conditions must match. `scope=all`
// requests all tenants explicitly and is rejected for other callers. If tenants share entries, only
// an admin may delete. Replies {"removed": n}, with "on_disk":"pending" if the disk takes longer
// than the timeout.
[[nodiscard]] Task<bool> clear_cache(Exchange& exchange);

// Shows the capacities to an admin: {"memory": bytes, "disk_size": bytes}.
[[nodiscard]] Task<bool> show_config(Exchange& exchange);
// Changes capacities: takes the same object, or some of its members, with sizes as numbers or texts
// such as "4GiB". Replies at once; excess entries are evicted in the background.
[[nodiscard]] Task<bool> change_config(Exchange& exchange);

}   // namespace tensorcache::server
