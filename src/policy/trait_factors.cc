#include "policy/trait_factors.h"

#include <algorithm>

namespace tensorcache {

namespace {

constexpr int kRounds = 4;

// With half of what its neighbours have.
double smooth(const TraitFactors::Groups& raw, std::size_t group) {
  return raw[group] + (group > 0 ? raw[group - 1] / 2 : 0) + (group + 1 < raw.size() ? raw[group + 1] / 2 : 0);
}

void fit_trait(std::span<TraitFactors::Class> classes, std::size_t trait, double prior) {
  std::array<TraitFactors::Groups, TraitFactors::kLevels> events{}, expected{};
  for (const auto& one : classes) {
    const std::size_t level = one.levels[trait];
    for (std::size_t group = 0; group < TraitFactors::kGroups; ++group) {
      events[level][group] += one.events[group];
      expected[level][group] += one.expected[group] * one.product[group];
    }
  }
  std::array<TraitFactors::Groups, TraitFactors::kLevels> change{};
  for (std::size_t level = 0; level < TraitFactors::kLevels; ++level) {
    for (std::size_t group = 0; group < TraitFactors::kGroups; ++group) {
      change[level][group] = (smooth(events[level], group) + prior) / (smooth(expected[level], group) + prior);
    }
  }
  for (auto& one : classes) {
    for (std::size_t group = 0; group < TraitFactors::kGroups; ++group) one.product[group] *= change[one.levels[trait]][group];
  }
}

}   // namespace

void TraitFactors::fit(std::span<Class> classes, double prior) {
  for (Class& one : classes) one.product.fill(1);
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t trait = 0; trait < kTraits; ++trait) fit_trait(classes, trait, prior);
  }
}

}   // namespace tensorcache
