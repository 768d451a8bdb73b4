// Writes the results of simulations as a table, JSON, CSV or plot.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/simulate/replay.h"

namespace tensorcache::simulate {

struct Finding {
  Setting setting;
  std::string size_text;   // as it was asked for
  Outcome outcome;
  double seconds = 0;   // that the replay took
};

struct Report {
  std::string trace, unit;   // what sizes count: "blocks", "keys" or "bytes"
  std::uint64_t requests = 0, accesses = 0, distinct = 0, distinct_size = 0, bad_lines = 0;
  std::uint64_t block_bytes = 0;                            // what a block takes; 0: not known
  std::optional<double> tokens_per_second = std::nullopt;   // of prefill: what a token that is found saves
  std::vector<Finding> findings = {};                       // size after size, the policies in the order they were asked for
};

// Policies down, sizes across.
[[nodiscard]] std::string table(const Report& report);
// One object; `results` has one for each size and policy.
[[nodiscard]] std::string json(const Report& report);
[[nodiscard]] std::string csv(const Report& report);
// Miss ratio against size, a line for each policy; `html` wraps it into a page.
[[nodiscard]] std::string svg(const Report& report);
[[nodiscard]] std::string html(const Report& report);
// One sentence: the size and policy to choose, and what that saves.
[[nodiscard]] std::string advice(const Report& report);

}   // namespace tensorcache::simulate
