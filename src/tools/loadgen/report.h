// Prints the result of a run as a table or JSON.
#pragma once

#include <string>
#include <vector>

#include "tools/loadgen/run.h"

namespace tensorcache::loadgen {

// RETURNS one Summary per phase, then, if there are several, one of all named "all".
[[nodiscard]] std::vector<Summary> summaries(const Workload& workload, const Result& result);

// Formats aligned columns: counts and rates, then milliseconds.
[[nodiscard]] std::string table(const std::vector<Summary>& summaries);

// RETURNS one JSON object: workload, url, model, `phases` and `total`, each with counts, rates and
// distributions; names include the units.
[[nodiscard]] std::string json_report(const Workload& workload, const Result& result, const std::string& url);

// Writes one JSON object per request: phase, session, turn, text, finish_reason, error, usage,
// times, and logprobs if requested. Throws std::runtime_error that names the file.
void save_replies(const std::string& path, const Workload& workload, const Result& result);
// Reads the replies from such a file. Throws std::runtime_error that names the file and line.
[[nodiscard]] History read_replies(const std::string& path);

}   // namespace tensorcache::loadgen
