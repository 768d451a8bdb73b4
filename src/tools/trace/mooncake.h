// A request of a trace in Mooncake's format: one JSON object per line with `timestamp` (ms),
// `input_length`, `output_length` (tokens) and `hash_ids`, one per block of the prompt. Equal ids
// are equal blocks with equal prefixes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tensorcache::trace {

struct Request {
  std::uint64_t timestamp_ms = 0, input_tokens = 0, output_tokens = 0;
  std::vector<std::uint64_t> blocks;
  std::uint64_t block_bytes = 0;   // size of a block; 0: not given. A field of ours
};

// Throws std::runtime_error that describes the error in the line.
[[nodiscard]] Request parse_mooncake(const std::string& line);

}   // namespace tensorcache::trace
