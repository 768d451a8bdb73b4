// Suggestions for misspelt names: "did you mean ...?".
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tensorcache::options {

// RETURNS the candidate that `typed` was probably meant to be (smallest edit distance, where a swap
// of neighbours is one edit); "" if none is close.
[[nodiscard]] std::string suggest(std::string_view typed, const std::vector<std::string>& candidates);

// RETURNS the suggestion as the end of an error message: "; did you mean --parallel?", or "".
[[nodiscard]] std::string did_you_mean(std::string_view typed, const std::vector<std::string>& candidates);

}   // namespace tensorcache::options
