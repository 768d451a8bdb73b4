// Computes the capacity of a cache that follows available memory. Pure arithmetic on readings.
#pragma once

#include <cstdint>
#include <optional>

#include "store/sizing/memory_reading.h"

namespace tensorcache::sizing {

struct GovernorOptions {
  double share = 0.5;                                    // of the memory that would be available without the cache
  std::uint64_t floor_bytes = std::uint64_t{64} << 20;   // minimum capacity: a smaller cache is useless
};

// Shrinks at once and grows slowly: other processes get memory within one period, and fluctuating
// demand does not empty the cache each time.
class MemoryGovernor {
 public:
  explicit MemoryGovernor(GovernorOptions options) : options_(options) {}

  // Called once per period (one second). `used_bytes`: bytes in use of `capacity_bytes`. RETURNS
  // the new capacity; the present one if nothing changes or nothing can be read.
  [[nodiscard]] std::uint64_t next(const std::optional<MemoryReading>& reading, std::uint64_t capacity_bytes, std::uint64_t used_bytes);
  // RETURNS the initial capacity.
  [[nodiscard]] std::uint64_t first(const std::optional<MemoryReading>& reading) const;

 private:
  [[nodiscard]] std::uint64_t wanted(const MemoryReading& reading, std::uint64_t used_bytes) const;

  const GovernorOptions options_;
  int calm_periods_ = 0;   // since the last period with pressure
};

}   // namespace tensorcache::sizing
