// Accepts, ignores or rejects options of llama-server.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::options {

class OptionSet;

// Translates llama-server's spellings in the arguments of `tensorcache serve`: --n-gpu-layers, and
// `--lora-scaled FILE SCALE`. Drops an option without a meaning here with a warning if the server
// behaves as requested even so; otherwise throws UsageError that says what to use instead.
// `options` tells which arguments are values.
[[nodiscard]] std::vector<std::string> from_llama_server(const OptionSet& options, const std::vector<std::string>& arguments,
                                                         std::vector<std::string>& warnings);

}   // namespace tensorcache::options
