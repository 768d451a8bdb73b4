#include "app/options/suggest.h"

#include <algorithm>

namespace tensorcache::options {
namespace {

// RETURNS the optimal string alignment distance.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

}   // namespace

std::string suggest(std::string_view typed, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongestWord = 64;   // longer words are not taken for misspelt names
  std::string best;
  const std::size_t letters = typed.size() - std::min(typed.find_first_not_of('-'), typed.size());
  if (letters < 2 || typed.size() > kLongestWord) return best;
  std::size_t best_distance = std::max<std::size_t>(1, letters / 3) + 1;
  for (const std::string& candidate : candidates) {
    // A prefix of a name ("--threads-b", "--mem") is the best match, however many letters are
    // missing.
    const bool cut_short = candidate.size() > typed.size() && candidate.starts_with(typed);
    const std::size_t distance = cut_short ? 0 : edit_distance(typed, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view typed, const std::vector<std::string>& candidates) {
  const std::string best = suggest(typed, candidates);
  return best.empty() ? "" : "; did you mean " + best + "?";
}

}   // namespace tensorcache::options
