// What the engine for GGUF models is told at its start.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace tensorcache::llama {

// Names and defaults follow llama-server's options.
struct LlamaOptions {
  std::string model_path;
  std::string alias;                                  // the model's id; empty: the file's name
  std::vector<std::string> more_aliases;              // further names of the model
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
  int block_tokens = 0;           // tokens in a prefix block; 0: 32, or 64 with `deterministic`
  bool prefix_cache = true;
  std::chrono::milliseconds transfer_slice{5};   // K/V is copied for so long between two steps of other requests; 0: one block
  bool warm_up = true;                           // makes memory ready at start, behind the first requests
  bool deterministic = false;                    // cold, warm and batched runs give the same bits (docs/decisions/0002)
  std::string fingerprint_cache_path;            // memoises the model file's digest by inode, size and times; empty: no memo
};

}   // namespace tensorcache::llama
