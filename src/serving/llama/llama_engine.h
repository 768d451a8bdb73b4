// The engine that runs a GGUF model in this process with llama.cpp.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "serving/engine/engine.h"
#include "serving/engine/observer.h"
#include "serving/llama/llama_options.h"
#include "tensorcache/cache.h"

namespace tensorcache::llama {

// llama.cpp's version and what it uses of this processor, each in a line.
[[nodiscard]] std::string llama_build();

// Loads the model (seconds to minutes; `progress` gets 0..1, from this thread) and starts the engine's threads.
// Throws std::runtime_error that names the file or option. `cache` holds the prefix blocks and must outlive the engine. `on_finished`, if
// there is one, is told of each request that ended well.
[[nodiscard]] std::unique_ptr<engine::Engine> make_llama_engine(const LlamaOptions& options, Cache& cache,
                                                                const std::function<void(float)>& progress = {},
                                                                engine::FinishedObserver on_finished = {});

}   // namespace tensorcache::llama
