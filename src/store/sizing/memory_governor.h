// Computes the capacity of a cache that follows available memory. Pure arithmetic on readings.
#pragma once

#include <cstdint>
#include <optional>

#include "store/sizing/memory_reading.h"

namespace tensorcache::sizing {

struct GovernorOptions {
  double share = 0.5;                                    // of what would be available if the cache were empty
  std::uint64_t floor_bytes = std::uint64_t{64} << 20;   // it never asks for less: a cache of nothing helps nobody
};

// Shrinks at once, grows slowly: others that ask for memory get it in one period, and a machine
// that swings does not empty the cache at each turn.
class MemoryGovernor {
 public:
  explicit MemoryGovernor(GovernorOptions options) : options_(options) {}

  // Once a period (a second). `used_bytes` is what the cache holds of its `capacity_bytes`. Returns
  // the capacity it is to have now, which is the present one where nothing is to change or nothing
  // can be read.
  [[nodiscard]] std::uint64_t next(const std::optional<MemoryReading>& reading, std::uint64_t capacity_bytes, std::uint64_t used_bytes);
  // The one to begin with.
  [[nodiscard]] std::uint64_t first(const std::optional<MemoryReading>& reading) const;

 private:
  [[nodiscard]] std::uint64_t wanted(const MemoryReading& reading, std::uint64_t used_bytes) const;

  const GovernorOptions options_;
  int calm_periods_ = 0;   // since the last one with pressure
};

}   // namespace tensorcache::sizing
