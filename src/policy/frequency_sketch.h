// How often a key was used lately, about: a count-min sketch that is halved every so often.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <new>
#include <vector>

namespace tensorcache {

class FrequencySketch {
 public:
  // For so many keys. What is known is kept as far as it goes.
  void grow_to(std::size_t keys) noexcept {
    std::size_t wanted = std::max<std::size_t>(kLeastWidth, counters_.size() / kRows);
    while (wanted < keys * kCountersPerKey) wanted *= 2;
    if (wanted * kRows == counters_.size()) return;
    try {
      std::vector<std::uint8_t> wider(wanted * kRows);
      const std::size_t width = counters_.size() / kRows;
      for (std::size_t i = 0; width > 0 && i < wider.size(); ++i) wider[i] = counters_[i / wanted * width + i % wanted % width];
      counters_.swap(wider);
    } catch (const std::bad_alloc&) {   // it goes on with more collisions
    }
    keys_ = keys;
  }
  void add(std::uint64_t hash) noexcept {
    if (counters_.empty()) return;
    const std::uint32_t least = estimate(hash);
    if (least < kMost) {
      for (std::size_t row = 0; row < kRows; ++row) {
        std::uint8_t& counter = counters_[at(hash, row)];
        if (counter == least) ++counter;   // only the lowest: fewer overestimates
      }
    }
    if (++added_ < kSampleFactor * std::max(keys_, kLeastWidth)) return;
    added_ /= 2;
    for (std::uint8_t& counter : counters_) counter /= 2;
  }
  [[nodiscard]] std::uint32_t estimate(std::uint64_t hash) const noexcept {
    std::uint32_t least = kMost;
    for (std::size_t row = 0; row < kRows && !counters_.empty(); ++row) least = std::min<std::uint32_t>(least, counters_[at(hash, row)]);
    return counters_.empty() ? 0 : least;
  }

 private:
  static constexpr std::size_t kRows = 4, kLeastWidth = 64, kCountersPerKey = 8;
  static constexpr std::uint32_t kMost = 255;
  static constexpr std::size_t kSampleFactor = 10;   // uses a key, between two halvings

  [[nodiscard]] std::size_t at(std::uint64_t hash, std::size_t row) const {
    static constexpr std::array<std::uint64_t, kRows> kOdd = {0x9E3779B97F4A7C15u, 0xC2B2AE3D27D4EB4Fu, 0x165667B19E3779F9u, 0xD6E8FEB86659FD93u};
    const std::size_t width = counters_.size() / kRows;
    return row * width + (((hash ^ (hash >> 32)) * kOdd[row]) >> 32) % width;
  }

  std::vector<std::uint8_t> counters_;   // row after row
  std::size_t keys_ = 0, added_ = 0;
};

}   // namespace tensorcache
