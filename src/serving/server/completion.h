// POST /v1/chat/completions and /v1/completions: served from the response cache, a running flight,
// or the engine.
#pragma once

#include <string_view>

#include "serving/engine/engine.h"
#include "serving/server/connection.h"
#include "serving/protocol/problem.h"
#include "serving/server/session.h"
#include "serving/protocol/tenants.h"

namespace tensorcache::server {

// Replies. True if the connection may serve another request. A client that leaves meanwhile gives up its share of the computation.
[[nodiscard]] Task<bool> answer_completion(Exchange& exchange, const protocol::Caller& caller);

[[nodiscard]] protocol::Problem loading_problem();
[[nodiscard]] protocol::Problem unknown_model_problem(std::string_view name, const engine::EngineInfo& info);

}   // namespace tensorcache::server
