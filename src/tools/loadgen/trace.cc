#include "tools/loadgen/trace.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>

#include "tools/loadgen/words.h"
#include "tools/trace/lines.h"
#include "tools/trace/mooncake.h"

namespace tensorcache::loadgen {
namespace {

constexpr std::uint64_t kBlockPurpose = 100;   // differs from those of workload.cc

std::string prompt_of(const trace::Request& entry, const TraceOptions& options) {
  std::string prompt;
  std::uint64_t left = entry.input_tokens;
  for (const std::uint64_t id : entry.blocks) {
    const std::size_t words = std::min<std::uint64_t>(left, options.block_tokens);
    if (words == 0) break;
    if (!prompt.empty()) prompt += ' ';
    prompt += WordSource(options.seed, kBlockPurpose, id).text(words);
    left -= words;
  }
  return prompt;
}

}   // namespace

Workload read_trace(const TraceOptions& options) {
  trace::Lines lines(options.path);
  Workload work{"trace", {}, {Phase{"trace", {}, options.concurrency}}};
  std::vector<Turn>& turns = work.phases[0].turns;
  std::string line;
  std::optional<std::uint64_t> begin_ms;
  std::size_t number = 0;
  try {
    while ((options.limit == 0 || turns.size() < options.limit) && lines.next(line)) {
      ++number;
      if (line.empty()) continue;
      const trace::Request entry = trace::parse_mooncake(line);
      if (entry.input_tokens == 0 || (options.max_input != 0 && entry.input_tokens > options.max_input)) continue;
      if (!begin_ms) begin_ms = entry.timestamp_ms;
      Turn turn{turns.size(), prompt_of(entry, options), static_cast<int>(std::min<std::uint64_t>(entry.output_tokens, 1'000'000)), {}};
      if (options.max_output > 0) turn.max_tokens = std::min(turn.max_tokens, options.max_output);
      turn.max_tokens = std::max(turn.max_tokens, 1);
      const double since_ms = static_cast<double>(entry.timestamp_ms) - static_cast<double>(*begin_ms);
      if (options.speedup > 0) turn.start_after = std::chrono::milliseconds(std::max<std::int64_t>(0, std::llround(since_ms / options.speedup)));
      turns.push_back(std::move(turn));
    }
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(options.path + ":" + std::to_string(number) + ": " + error.what());
  }
  if (turns.empty()) throw std::runtime_error(options.path + ": contains no request within the limits");
  std::stable_sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) { return a.start_after < b.start_after; });
  work.system.resize(turns.size());
  return work;
}

}   // namespace tensorcache::loadgen
