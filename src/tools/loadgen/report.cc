#include "tools/loadgen/report.h"

#include <boost/json.hpp>
#include <cstdio>
#include <fstream>
#include <stdexcept>

#include "base/core/text_table.h"

namespace tensorcache::loadgen {
namespace {

std::string fixed(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

// Formats milliseconds with a sensible number of digits.
std::string ms(double value) { return fixed(value, value < 10 ? 2 : value < 1000 ? 1 : 0); }

TableRow times_row(const std::string& name, const Distribution& times) {
  return {name, ms(times.mean), ms(times.p50), ms(times.p90), ms(times.p99), ms(times.max)};
}

boost::json::object as_json(const Distribution& times) {
  return {{"count", times.count}, {"mean", times.mean}, {"p50", times.p50}, {"p90", times.p90},
          {"p99", times.p99},     {"min", times.min},   {"max", times.max}};
}

boost::json::object as_json(const Summary& summary) {
  boost::json::object out{{"name", summary.name}, {"requests", summary.requests}, {"errors", summary.errors}, {"wall_s", summary.wall_s}};
  out["ttft_ms"] = as_json(summary.ttft_ms);
  out["total_ms"] = as_json(summary.total_ms);
  out["between_pieces_ms"] = as_json(summary.gap_ms);
  out["prompt_tokens"] = summary.prompt_tokens;
  out["completion_tokens"] = summary.completion_tokens;
  out["cached_tokens"] = summary.cached_tokens;
  out["reused_share"] = summary.reused_share;
  out["prompt_tokens_per_s"] = summary.prompt_tokens_per_s;
  out["completion_tokens_per_s"] = summary.completion_tokens_per_s;
  boost::json::array errors;
  for (const std::string& error : summary.first_errors) errors.emplace_back(error);
  out["first_errors"] = std::move(errors);
  return out;
}

boost::json::object as_json(const Sample& sample, const std::string& phase) {
  boost::json::object out{
      {"phase", phase}, {"session", sample.session}, {"turn", sample.turn}, {"text", sample.text}, {"finish_reason", sample.finish_reason}};
  if (!sample.error.empty()) out["error"] = sample.error;
  out["prompt_tokens"] = sample.prompt_tokens;
  out["completion_tokens"] = sample.completion_tokens;
  out["cached_tokens"] = sample.cached_tokens;
  out["ttft_ms"] = sample.ttft_ms;
  out["total_ms"] = sample.total_ms;
  boost::json::array scores;
  for (const TokenScore& score : sample.logprobs) scores.push_back({score.token, score.logprob});
  if (!scores.empty()) out["logprobs"] = std::move(scores);
  return out;
}

}   // namespace

std::vector<Summary> summaries(const Workload& workload, const Result& result) {
  std::vector<Summary> out;
  std::vector<const Sample*> all;
  double all_wall_s = 0;
  for (std::size_t i = 0; i < workload.phases.size(); ++i) {
    std::vector<const Sample*> samples;
    for (const Sample& sample : result.samples) {
      if (sample.phase == i) samples.push_back(&sample);
    }
    all.insert(all.end(), samples.begin(), samples.end());
    all_wall_s += result.phase_wall_s[i];
    if (samples.empty() && !workload.phases[i].turns.empty()) continue;   // the phase was not sent
    out.push_back(summarise(workload.phases[i].name, samples, result.phase_wall_s[i]));
  }
  if (out.size() > 1) out.push_back(summarise("all", all, all_wall_s));
  return out;
}

std::string table(const std::vector<Summary>& summaries) {
  std::vector<TableRow> counts{{"", "requests", "errors", "wall s", "prompt tok/s", "answer tok/s", "reused"}};
  std::vector<TableRow> times{{"milliseconds", "mean", "p50", "p90", "p99", "max"}};
  std::string errors;
  for (const Summary& summary : summaries) {
    counts.push_back({summary.name, std::to_string(summary.requests), std::to_string(summary.errors), fixed(summary.wall_s, 2),
                      fixed(summary.prompt_tokens_per_s, 1), fixed(summary.completion_tokens_per_s, 1), fixed(100 * summary.reused_share, 1) + "%"});
    times.push_back(times_row(summary.name + ", first token", summary.ttft_ms));
    times.push_back(times_row(summary.name + ", whole answer", summary.total_ms));
    times.push_back(times_row(summary.name + ", between pieces", summary.gap_ms));
    if (summary.name == "all") continue;
    for (const std::string& error : summary.first_errors) errors += "error in " + summary.name + ": " + error + "\n";
  }
  return text_table(counts) + "\n" + text_table(times) + (errors.empty() ? "" : "\n" + errors);
}

std::string json_report(const Workload& workload, const Result& result, const std::string& url) {
  boost::json::object out{{"workload", workload.name}, {"url", url}, {"model", result.model}};
  boost::json::array phases;
  std::vector<Summary> found = summaries(workload, result);
  const Summary total = found.back();
  if (found.size() > 1) found.pop_back();
  for (const Summary& summary : found) phases.push_back(as_json(summary));
  out["phases"] = std::move(phases);
  out["total"] = as_json(total);
  return boost::json::serialize(out) + "\n";
}

void save_replies(const std::string& path, const Workload& workload, const Result& result) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  for (const Sample& sample : result.samples) file << boost::json::serialize(as_json(sample, workload.phases[sample.phase].name)) << '\n';
  if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
}

History read_replies(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  History history;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    boost::system::error_code failed;
    const boost::json::value value = boost::json::parse(line, failed);
    const boost::json::value* session = failed ? nullptr : value.find_pointer("/session", failed);
    const boost::json::value* turn = failed ? nullptr : value.find_pointer("/turn", failed);
    const boost::json::value* text = failed ? nullptr : value.find_pointer("/text", failed);
    if (failed || session == nullptr || turn == nullptr || text == nullptr || !session->is_int64() || !turn->is_int64() || !text->is_string()) {
      throw std::runtime_error(path + ":" + std::to_string(number) + ": is not a line of --save-replies");
    }
    const std::pair place{static_cast<std::size_t>(session->get_int64()), static_cast<std::size_t>(turn->get_int64())};
    history[place] = std::string(text->get_string().data(), text->get_string().size());
  }
  return history;
}

}   // namespace tensorcache::loadgen
