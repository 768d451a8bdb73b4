// Sends a workload and measures the responses.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tools/loadgen/measure.h"
#include "tools/loadgen/workload.h"

namespace tensorcache::loadgen {

// Replies of an earlier run, by session and turn.
using History = std::map<std::pair<std::size_t, std::size_t>, std::string>;

struct RunOptions {
  std::string url = "http://127.0.0.1:8080";
  std::string api_key;
  std::string model;                                          // empty: the first one that the server lists
  std::vector<std::pair<std::string, std::string>> headers;   // sent with each request
  std::string extra_body;                                     // a JSON object whose members are added to each request
  double temperature = 0;
  bool logprobs = false;
  std::chrono::milliseconds timeout{300'000};   // for one request
  std::chrono::milliseconds max_time{0};        // for the whole run; 0: no limit
  // Replies used in place of the server's own in later turns, so that two runs send the same
  // prompts.
  const History* history = nullptr;
  // Phases before this one are not sent; their replies are taken from `history`.
  std::size_t first_phase = 0;
};

// RETURNS true if `text` is valid as RunOptions::extra_body.
[[nodiscard]] bool is_json_object(const std::string& text);

struct Result {
  std::string model;
  std::vector<Sample> samples;   // in the order of the workload
  std::vector<double> phase_wall_s;
};

struct ProgressReport {
  std::string phase;
  std::size_t done = 0, total = 0;   // requests of the whole workload
};

// Runs on the calling thread. `progress` is called a few times per second. Throws
// std::runtime_error if the server cannot be reached or lists no model. A failed request is a
// sample with an error; later turns of its session are skipped.
[[nodiscard]] Result run(const Workload& workload, const RunOptions& options, const std::function<void(const ProgressReport&)>& progress);

}   // namespace tensorcache::loadgen
