// Who is told of an engine's requests, besides their sinks: a recorder of traces.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "tensorcache/key.h"

namespace tensorcache::engine {

// A request that ended well and may be kept (Request::store_prefix).
struct FinishedRequest {
  std::span<const Key> prompt_blocks;   // keys of the prompt's full blocks, valid during the call
  std::size_t input_tokens = 0, output_tokens = 0;
};

// Called once for each, on one of the engine's threads. It must not block and must not call back into the engine.
using FinishedObserver = std::function<void(const FinishedRequest&)>;

}   // namespace tensorcache::engine
