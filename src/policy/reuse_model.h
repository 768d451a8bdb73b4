// When blocks of a class are used again, learned from those that were and those that were not; and what keeping one is worth at its age.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tensorcache {

// Ages are in bytes of accesses since the last use, in bins of a quarter octave from a 64th of the capacity on.
class ReuseModel {
 public:
  static constexpr std::size_t kClasses = 64, kAges = 64;
  using Counts = std::array<std::array<double, kAges>, kClasses>;

  void resize(std::uint64_t capacity_bytes);
  [[nodiscard]] std::size_t age_of(std::uint64_t bytes) const;
  // The least age of that bin.
  [[nodiscard]] std::uint64_t begin_of(std::size_t age) const { return begins_[age]; }

  // One of class `c` was used again at this age, or will never be known to be: it was forgotten.
  void reused(std::size_t c, std::size_t age) { reused_[c][age] += 1; }
  void forgotten(std::size_t c, std::size_t age) { forgotten_[c][age] += 1; }

  // The worth of each class and age: the most hits for a byte and its time that any plan to drop it later gives (a Gittins index).
  // `waiting`: how many there are now that have not been used again yet. Old experience fades.
  void learn(const Counts& waiting);
  [[nodiscard]] double worth(std::size_t c, std::size_t age) const { return worth_[c][age]; }

 private:
  Counts reused_{}, forgotten_{}, worth_{};
  std::array<std::uint64_t, kAges + 1> begins_{};
};

}   // namespace tensorcache
