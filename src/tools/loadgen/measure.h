// The measurements of a run and their summary.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tensorcache::loadgen {

struct TokenScore {
  std::string token;
  double logprob = 0;
};

// One request as measured by its client.
struct Sample {
  std::size_t phase = 0, session = 0, turn = 0;   // `turn`: index within the session
  std::string error;                              // empty: success
  std::string text, finish_reason;
  std::vector<TokenScore> logprobs;
  double ttft_ms = -1;   // to the first byte of content; -1: no content
  double total_ms = 0;
  std::vector<double> gap_ms;   // between pieces of content
  std::uint64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};

struct Distribution {
  std::size_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, min = 0, max = 0;
};

// RETURNS the p-th percentile (0..1) of ascending values, interpolated as by NumPy's default; 0 for
// no values.
[[nodiscard]] double percentile(const std::vector<double>& ascending, double p);
[[nodiscard]] Distribution distribution(std::vector<double> values);

struct Summary {
  std::string name;
  std::size_t requests = 0, errors = 0;
  double wall_s = 0;
  Distribution ttft_ms, total_ms, gap_ms;
  std::uint64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  double prompt_tokens_per_s = 0;          // per wall time; includes cached tokens
  double completion_tokens_per_s = 0;      // per wall time
  double reused_share = 0;                 // cached fraction of the prompt tokens
  std::vector<std::string> first_errors;   // up to a few different ones
};

// Summarises the successful samples; failed ones are counted.
[[nodiscard]] Summary summarise(std::string name, const std::vector<const Sample*>& samples, double wall_s);

}   // namespace tensorcache::loadgen
