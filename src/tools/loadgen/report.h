// Prints the result of a run as a table or JSON.
#pragma once

#include <string>
#include <vector>

#include "tools/loadgen/run.h"

namespace tensorcache::loadgen {

// A Summary for each phase, then one of all, named "all", if there are several.
[[nodiscard]] std::vector<Summary> summaries(const Workload& workload, const Result& result);

// Aligned columns: counts and rates, then milliseconds.
[[nodiscard]] std::string table(const std::vector<Summary>& summaries);

// One JSON object: workload, url, model, `phases` and `total`, each with counts, rates and distributions; names carry their units.
[[nodiscard]] std::string json_report(const Workload& workload, const Result& result, const std::string& url);

// One JSON object for each request: phase, session, turn, text, finish_reason, error, usage, times, and logprobs where they were asked for.
// Throws std::runtime_error that names the file.
void save_replies(const std::string& path, const Workload& workload, const Result& result);
// The answers of such a file. Throws std::runtime_error that names the file and line.
[[nodiscard]] History read_replies(const std::string& path);

}   // namespace tensorcache::loadgen
