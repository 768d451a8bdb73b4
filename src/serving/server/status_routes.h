// GET /health, /v1/models, /v1/models/MODEL and /metrics.
#pragma once

#include "serving/server/exchange.h"

namespace tensorcache::server {

// Each handler sends its reply and returns true if the connection may serve another request.
[[nodiscard]] Task<bool> show_health(Exchange& exchange);
[[nodiscard]] Task<bool> list_models(Exchange& exchange);
[[nodiscard]] Task<bool> show_model(Exchange& exchange);
[[nodiscard]] Task<bool> show_metrics(Exchange& exchange);
// As llama-server's: the model and its defaults; the slots, for admins.
[[nodiscard]] Task<bool> show_props(Exchange& exchange);
[[nodiscard]] Task<bool> show_slots(Exchange& exchange);   // for admins

}   // namespace tensorcache::server
