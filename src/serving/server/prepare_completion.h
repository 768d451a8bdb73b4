// From a request's body to what is looked up or computed.
#pragma once

#include <optional>

#include "serving/answer/flight.h"
#include "serving/engine/engine.h"
#include "serving/protocol/cache_control.h"
#include "serving/protocol/format.h"
#include "serving/protocol/request_draft.h"
#include "serving/server/exchange.h"

namespace tensorcache::server {

// The result of parsing a body, before any lookup: all steps whose time grows with the body.
struct Prepared {
  protocol::ParsedRequest parsed;
  protocol::CacheControl control;
  protocol::CacheStatus::Bypass bypass = protocol::CacheStatus::Bypass::kNone;
  answer::Flights::Order order;
  std::optional<protocol::Problem> problem;   // then nothing else counts

  [[nodiscard]] bool eligible() const { return bypass == protocol::CacheStatus::Bypass::kNone; }
};

// Takes the body. A large one is parsed on another thread. `engine`: null while the model loads, which
// is a problem.
[[nodiscard]] Task<Prepared> prepare(Exchange& exchange, const engine::Engine* engine, protocol::Format format);

}   // namespace tensorcache::server
