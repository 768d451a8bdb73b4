// Estimates how often values of a class are reused, relative to all others, as a product over its
// traits, so that a class with few observations is judged by classes that share its traits.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace tensorcache::policy {

class TraitFactors {
 public:
  static constexpr std::size_t kTraits = 5, kLevels = 6;
  static constexpr std::size_t kGroups = 8;   // of ages
  using Levels = std::array<std::size_t, kTraits>;
  using Groups = std::array<double, kGroups>;
  struct Class {
    Levels levels;
    Groups events, expected;   // how often its values were used again, and would have been if they were like all
    Groups product;            // out
  };

  // Finds the products under which each level of each trait has had as many events as expected
  // (iterative proportional fitting); `prior` events weigh for a factor of 1.
  static void fit(std::span<Class> classes, double prior);
};

}   // namespace tensorcache::policy
