#include "store/policy/trait_factors.h"

#include <utility>

namespace tensorcache::policy {

namespace {

constexpr int kRounds = 4;

using Groups = TraitFactors::Groups;
using Factors = std::array<Groups, TraitFactors::kLevels>;

double smooth(const Groups& raw, std::size_t group) {
  return raw[group] / 2 + (group > 0 ? raw[group - 1] / 4 : 0) + (group + 1 < raw.size() ? raw[group + 1] / 4 : 0);
}

// As much as is missing under the product of the others.
void fit_trait(std::span<TraitFactors::Class> classes, std::size_t trait, double prior, Factors* factors) {
  Factors events{}, expected{}, change{};
  for (const auto& one : classes) {
    const std::size_t level = one.levels[trait];
    for (std::size_t group = 0; group < TraitFactors::kGroups; ++group) {
      events[level][group] += one.events[group];
      expected[level][group] += one.expected[group] * one.product[group] / (*factors)[level][group];
    }
  }
  for (std::size_t level = 0; level < TraitFactors::kLevels; ++level) {
    for (std::size_t group = 0; group < TraitFactors::kGroups; ++group) {
      const double factor = (smooth(events[level], group) + prior) / (smooth(expected[level], group) + prior);
      change[level][group] = factor / std::exchange((*factors)[level][group], factor);
    }
  }
  for (auto& one : classes) {
    for (std::size_t group = 0; group < TraitFactors::kGroups; ++group) one.product[group] *= change[one.levels[trait]][group];
  }
}

}   // namespace

void TraitFactors::fit(std::span<Class> classes, double prior) {
  for (Class& one : classes) one.product.fill(1);
  std::array<Factors, kTraits> factors;
  for (Factors& of_trait : factors) {
    for (Groups& of_level : of_trait) of_level.fill(1);
  }
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t trait = 0; trait < kTraits; ++trait) fit_trait(classes, trait, prior, &factors[trait]);
  }
}

}   // namespace tensorcache::policy
