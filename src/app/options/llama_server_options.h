// Accepts, ignores or rejects options of llama-server.
#pragma once

#include <string>
#include <vector>

namespace tensorcache::options {

class OptionSet;

// `arguments` of `tensorcache serve` with llama-server's other spellings made ours: --n-gpu-layers,
// and `--lora-scaled FILE SCALE`. An option without a meaning here is left out with a warning where
// the server behaves as asked all the same. Throws UsageError that says what to do instead where it
// does not.
// `options` tells which arguments are values.
[[nodiscard]] std::vector<std::string> from_llama_server(const OptionSet& options, const std::vector<std::string>& arguments,
                                                         std::vector<std::string>& warnings);

}   // namespace tensorcache::options
