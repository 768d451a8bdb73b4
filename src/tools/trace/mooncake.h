// A request of a trace in Mooncake's format: one JSON object per line with `timestamp` (ms),
// `input_length`, `output_length` (tokens) and `hash_ids`, one per block of the prompt; equal ids
// are equal blocks with equal prefixes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tensorcache::trace {

struct Request {
  std::uint64_t timestamp_ms = 0, input_tokens = 0, output_tokens = 0;
  std::vector<std::uint64_t> blocks;
  std::uint64_t block_bytes = 0;   // what each takes; 0: not said. Our own field
};

// Throws std::runtime_error that says what is wrong with the line.
[[nodiscard]] Request parse_mooncake(const std::string& line);

}   // namespace tensorcache::trace
