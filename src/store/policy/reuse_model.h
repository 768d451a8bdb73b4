// Learns when blocks of a class are reused, and the value of keeping a block at its age.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tensorcache::policy {

// What the request that used a value last says of it. "Usual" is a running mean; a difference from
// it is in octaves, as a power of two.
struct ReuseTraits {
  std::uint32_t uses = 0;   // of the value, before this one
  double known = 0;         // share of the request's chain that had been used before
  double gap = 0;           // from usual: how many requests ago that was
  double fresh = 0;         // from usual: how many values of the chain had not been used before
  double answer = 0;        // from usual: how many tokens were generated
  bool last = false;        // it ends the chain
};

// Ages are in requests since the last use, in bins of half an octave.
class ReuseModel {
 public:
  static constexpr std::size_t kClasses = 256, kAges = 32;
  // Of values that are said to be over: of no worth until that has proved wrong. Of those of the
  // request at hand: worth most.
  static constexpr std::uint8_t kOver = 254, kPresent = 255;
  using Ages = std::array<double, kAges>;
  using Counts = std::vector<Ages>;   // by class

  ReuseModel();
  [[nodiscard]] static std::uint8_t class_of(const ReuseTraits& traits);
  [[nodiscard]] std::size_t age_of(std::uint64_t requests) const;
  // How many requests an age lasts.
  [[nodiscard]] std::uint64_t width(std::size_t age) const { return begins_[age + 1] - begins_[age]; }

  // One of class `c` was used again at this age, or will never be known to be: it was forgotten.
  void reused(std::size_t c, std::size_t age) { reused_[c][age] += 1; }
  void forgotten(std::size_t c, std::size_t age) { forgotten_[c][age] += 1; }

  // `waiting`: how many there are now that have not been used again yet. A request's values come
  // back together: so many of them, `values_per_request`, are one observation. Old experience
  // fades.
  void learn(const Counts& waiting, double values_per_request);

  // The most hits for a byte and its time that any plan to drop it later gives (a Gittins index).
  [[nodiscard]] double worth(std::size_t c, std::size_t age) const { return worth_[c][age]; }
  // All pairs of class and age, numbered c * kAges + age, by worth, the least first and of equals
  // the oldest; and where each stands.
  [[nodiscard]] std::size_t pair_at(std::size_t place) const { return order_[place]; }
  [[nodiscard]] std::size_t place_of(std::size_t c, std::size_t age) const { return places_[c * kAges + age]; }

 private:
  [[nodiscard]] double span(std::size_t age) const { return static_cast<double>(width(age)); }
  [[nodiscard]] Ages worth_at(const Ages& rate, std::size_t ages) const;
  void rank();

  Counts reused_, forgotten_, worth_;
  std::array<std::uint64_t, kAges + 1> begins_{};
  std::array<std::uint8_t, 1024> young_ages_{};   // the age of so many requests
  std::vector<std::uint16_t> order_, places_;
};

}   // namespace tensorcache::policy
