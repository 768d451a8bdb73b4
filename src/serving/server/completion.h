// POST /v1/chat/completions and /v1/completions: from the stored answer, a running one, or the engine.
#pragma once

#include <string_view>

#include "serving/engine/engine.h"
#include "serving/server/connection.h"
#include "serving/protocol/problem.h"
#include "serving/server/session.h"
#include "serving/protocol/tenants.h"

namespace tensorcache {

// Replies. True if the connection may serve another request. A client that leaves meanwhile gives up its share of the computation.
[[nodiscard]] Task<bool> answer_completion(Exchange& exchange, const Caller& caller);

[[nodiscard]] Problem loading_problem();
[[nodiscard]] Problem unknown_model_problem(std::string_view name, const EngineInfo& info);

}   // namespace tensorcache
