// Sends a workload and measures it.
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

// What an earlier run answered: by session and its turn.
using History = std::map<std::pair<std::size_t, std::size_t>, std::string>;

struct RunOptions {
  std::string url = "http://127.0.0.1:8080";
  std::string api_key;
  std::string model;                                          // empty: the first the server lists
  std::vector<std::pair<std::string, std::string>> headers;   // sent with each request
  std::string extra_body;                                     // a JSON object whose members go into each request
  double temperature = 0;
  bool logprobs = false;
  std::chrono::milliseconds timeout{300'000};   // for one request
  std::chrono::milliseconds max_time{0};        // for all of it; 0: none
  // Conversations go on from these answers instead of the server's own, so that two runs send the same prompts.
  const History* history = nullptr;
  // Phases before this one are not sent: their conversations begin with what `history` answered then.
  std::size_t first_phase = 0;
};

// Whether `text` may be RunOptions::extra_body.
[[nodiscard]] bool is_json_object(const std::string& text);

struct Result {
  std::string model;
  std::vector<Sample> samples;   // in the order of the workload
  std::vector<double> phase_wall_s;
};

struct ProgressReport {
  std::string phase;
  std::size_t done = 0, total = 0;   // requests, of the whole workload
};

// One thread. `progress` is called a few times a second. Throws std::runtime_error if the server cannot be reached at all or lists no
// model; a request that fails is a sample with an error, and its session's later turns are skipped.
[[nodiscard]] Result run(const Workload& workload, const RunOptions& options, const std::function<void(const ProgressReport&)>& progress);

}   // namespace tensorcache::loadgen
