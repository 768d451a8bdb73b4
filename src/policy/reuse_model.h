// When blocks of a class are used again, learned from those that were and those that were not; and what keeping one is worth at its age.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tensorcache {

// Ages are in requests since the last use, in bins of a quarter octave.
class ReuseModel {
 public:
  static constexpr std::size_t kClasses = 64, kAges = 64;
  using Ages = std::array<double, kAges>;
  using Counts = std::array<Ages, kClasses>;

  ReuseModel();
  [[nodiscard]] std::size_t age_of(std::uint64_t requests) const;

  // One of class `c` was used again at this age, or will never be known to be: it was forgotten.
  void reused(std::size_t c, std::size_t age) { reused_[c][age] += 1; }
  void forgotten(std::size_t c, std::size_t age) { forgotten_[c][age] += 1; }

  // The worth of each class and age: the most hits for a byte and its time that any plan to drop it later gives (a Gittins index).
  // `waiting`: how many there are now that have not been used again yet. Old experience fades.
  void learn(const Counts& waiting);
  // A request's values come back together: they are one observation.
  void set_values_per_request(double values) { values_per_request_ = values; }
  [[nodiscard]] double worth(std::size_t c, std::size_t age) const { return worth_[c][age]; }

 private:
  [[nodiscard]] double width(std::size_t age) const { return static_cast<double>(begins_[age + 1] - begins_[age]); }
  double values_per_request_ = 1;
  Counts reused_{}, forgotten_{}, worth_{};
  std::array<std::uint64_t, kAges + 1> begins_{};
};

}   // namespace tensorcache
