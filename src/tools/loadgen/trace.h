// Reads traces in Mooncake's format, optionally gzipped: one JSON object per line with `timestamp`
// (ms), `input_length`, `output_length` (tokens) and `hash_ids`, one per block of the prompt; equal
// ids are equal blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tools/loadgen/workload.h"

namespace tensorcache::loadgen {

struct TraceOptions {
  std::string path;
  double speedup = 1;               // 2: twice as fast; 0: as fast as `concurrency` allows
  std::size_t limit = 0;            // number of requests to read; 0: all
  std::size_t block_tokens = 512;   // tokens of the prompt per hash id
  std::size_t max_input = 0;        // longer prompts are skipped; 0: no limit
  int max_output = 0;               // longer completions are cut; 0: no limit
  std::size_t concurrency = 64;
  std::uint64_t seed = 1;
};

// RETURNS one phase, "trace", in order of the timestamps. Ids become deterministic words, one per
// token. Throws std::runtime_error that names the file and line.
[[nodiscard]] Workload read_trace(const TraceOptions& options);

}   // namespace tensorcache::loadgen
