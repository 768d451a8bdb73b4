// Suggestions for misspelt names: "did you mean ...?".
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tensorcache::options {

// The candidate that `typed` was probably meant to be (smallest edit distance; a swap of neighbours
// is one edit), or "" if none is near enough.
[[nodiscard]] std::string suggest(std::string_view typed, const std::vector<std::string>& candidates);

// `suggest` as the end of an error message: "; did you mean --parallel?", or "".
[[nodiscard]] std::string did_you_mean(std::string_view typed, const std::vector<std::string>& candidates);

}   // namespace tensorcache::options
