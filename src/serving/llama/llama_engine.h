// The engine that runs a GGUF model in this process with llama.cpp.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "serving/engine/engine.h"
#include "tensorcache/cache.h"

namespace tensorcache::llama {

// Names and defaults follow llama-server's options.
struct LlamaOptions {
  std::string model_path;
  std::string alias;                                  // the model's id; empty: the file's name
  std::vector<std::pair<std::string, float>> loras;   // path, scale
  std::string chat_template;                          // Jinja source; empty: the model's own
  int ctx_size = 0;                                   // tokens in all, shared out among `parallel`; 0: what the model was trained for, each
  int parallel = 4;                                   // requests that run at once
  int threads = 0;                                    // for decoding; 0: one for each core
  int threads_batch = 0;                              // for prefill; 0: as threads
  int batch_size = 512;                               // prefill tokens in one step, at most
  std::string cache_type_k = "f16", cache_type_v = "f16";
  std::string flash_attn = "auto";   // "on", "off", "auto"
  int gpu_layers = -1;               // -1: as many as fit
  bool mmap = true;
  int max_queue = 256;            // requests that wait for a place; more are refused with kOverloaded
  int max_queue_per_tenant = 0;   // of them, one tenant's; 0: all of them may be
  // Called on the context's thread for each request that ended well and may be kept: its prompt's blocks, and tokens in and out.
  std::function<void(std::span<const Key> blocks, std::size_t input_tokens, std::size_t output_tokens)> record;
  int block_tokens = 0;   // tokens in a prefix block; 0: 32, or 64 with `deterministic`
  bool prefix_cache = true;
  bool warm_up = true;                  // makes memory ready at start, behind the first requests
  bool deterministic = false;           // cold, warm and batched runs give the same bits (docs/decisions/0002)
  std::string fingerprint_cache_path;   // memoises the model file's digest by inode, size and times; empty: no memo
};

// llama.cpp's version and what it uses of this processor, each in a line.
[[nodiscard]] std::string llama_build();

// Loads the model (seconds to minutes; `progress` gets 0..1, from this thread) and starts the engine's threads.
// Throws std::runtime_error that names the file or option. `cache` holds the prefix blocks and must outlive the engine.
[[nodiscard]] std::unique_ptr<engine::Engine> make_llama_engine(const LlamaOptions& options, Cache& cache,
                                                                const std::function<void(float)>& progress = {});

}   // namespace tensorcache::llama
