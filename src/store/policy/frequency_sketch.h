// Approximate recent use counts: a count-min sketch that is halved periodically.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "store/policy/memory_account.h"

namespace tensorcache::policy {

class FrequencySketch {
 public:
  FrequencySketch() = default;
  ~FrequencySketch() { shed(); }
  FrequencySketch(const FrequencySketch&) = delete;
  FrequencySketch& operator=(const FrequencySketch&) = delete;

  void use_memory(MemoryAccount& account) { memory_ = Memory(account); }   // before anything is added
  // Forgets all and gives the memory back.
  void shed() noexcept {
    memory_.give_back_array(counters_, kRows * width_);
    counters_ = nullptr;
    width_ = keys_ = added_ = 0;
  }
  // For so many keys. What is known is kept as far as it goes.
  void grow_to(std::size_t keys) noexcept {
    std::size_t wanted = std::max<std::size_t>(kMinWidth, width_);
    while (wanted < keys * kCountersPerKey) wanted *= 2;
    if (wanted == width_) return;
    keys_ = keys;
    auto* const wider = memory_.take_array<std::uint8_t>(kRows * wanted);
    if (wider == nullptr) return;   // it goes on with more collisions
    for (std::size_t i = 0; width_ > 0 && i < kRows * wanted; ++i) wider[i] = counters_[i / wanted * width_ + i % wanted % width_];
    memory_.give_back_array(counters_, kRows * width_);
    counters_ = wider;
    width_ = wanted;
  }
  void add(std::uint64_t hash) noexcept {
    if (width_ == 0) return;
    const std::uint32_t least = estimate(hash);
    if (least < kMost) {
      for (std::size_t row = 0; row < kRows; ++row) {
        std::uint8_t& counter = counters_[at(hash, row)];
        if (counter == least) ++counter;   // only the lowest: fewer overestimates
      }
    }
    if (++added_ < kSampleFactor * std::max(keys_, kMinWidth)) return;
    added_ /= 2;
    for (std::size_t i = 0; i < kRows * width_; ++i) counters_[i] /= 2;
  }
  [[nodiscard]] std::uint32_t estimate(std::uint64_t hash) const noexcept {
    std::uint32_t least = kMost;
    for (std::size_t row = 0; row < kRows && width_ != 0; ++row) least = std::min<std::uint32_t>(least, counters_[at(hash, row)]);
    return width_ == 0 ? 0 : least;
  }

 private:
  static constexpr std::size_t kRows = 4, kMinWidth = 64, kCountersPerKey = 8;
  static constexpr std::uint32_t kMost = 255;
  static constexpr std::size_t kSampleFactor = 10;   // uses a key, between two halvings

  [[nodiscard]] std::size_t at(std::uint64_t hash, std::size_t row) const {
    static constexpr std::array<std::uint64_t, kRows> kOdd = {0x9E3779B97F4A7C15u, 0xC2B2AE3D27D4EB4Fu, 0x165667B19E3779F9u, 0xD6E8FEB86659FD93u};
    return row * width_ + (((hash ^ (hash >> 32)) * kOdd[row]) >> 32) % width_;
  }

  Memory memory_;
  std::uint8_t* counters_ = nullptr;   // row after row
  std::size_t width_ = 0;              // of a row
  std::size_t keys_ = 0, added_ = 0;
};

}   // namespace tensorcache::policy
