#include "tools/loadgen/measure.h"

#include <algorithm>
#include <cmath>

namespace tensorcache::loadgen {

double percentile(const std::vector<double>& ascending, double p) {
  if (ascending.empty()) return 0;
  const double place = std::clamp(p, 0.0, 1.0) * static_cast<double>(ascending.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(place));
  const std::size_t above = std::min(below + 1, ascending.size() - 1);
  return ascending[below] + (ascending[above] - ascending[below]) * (place - static_cast<double>(below));
}

Distribution distribution(std::vector<double> values) {
  Distribution out;
  if (values.empty()) return out;
  std::sort(values.begin(), values.end());
  out.count = values.size();
  for (const double value : values) out.mean += value / static_cast<double>(values.size());
  out.p50 = percentile(values, 0.5);
  out.p90 = percentile(values, 0.9);
  out.p99 = percentile(values, 0.99);
  out.min = values.front();
  out.max = values.back();
  return out;
}

Summary summarise(std::string name, const std::vector<const Sample*>& samples, double wall_s) {
  constexpr std::size_t kErrorsShown = 3;
  Summary out;
  out.name = std::move(name);
  out.requests = samples.size();
  out.wall_s = wall_s;
  std::vector<double> ttft, total, gaps;
  for (const Sample* sample : samples) {
    if (!sample->error.empty()) {
      ++out.errors;
      const bool known = std::find(out.first_errors.begin(), out.first_errors.end(), sample->error) != out.first_errors.end();
      if (!known && out.first_errors.size() < kErrorsShown) out.first_errors.push_back(sample->error);
      continue;
    }
    if (sample->ttft_ms >= 0) ttft.push_back(sample->ttft_ms);
    total.push_back(sample->total_ms);
    gaps.insert(gaps.end(), sample->gap_ms.begin(), sample->gap_ms.end());
    out.prompt_tokens += sample->prompt_tokens;
    out.completion_tokens += sample->completion_tokens;
    out.cached_tokens += sample->cached_tokens;
  }
  out.ttft_ms = distribution(std::move(ttft));
  out.total_ms = distribution(std::move(total));
  out.gap_ms = distribution(std::move(gaps));
  if (wall_s > 0) {
    out.prompt_tokens_per_s = static_cast<double>(out.prompt_tokens) / wall_s;
    out.completion_tokens_per_s = static_cast<double>(out.completion_tokens) / wall_s;
  }
  if (out.prompt_tokens > 0) out.reused_share = static_cast<double>(out.cached_tokens) / static_cast<double>(out.prompt_tokens);
  return out;
}

}   // namespace tensorcache::loadgen
