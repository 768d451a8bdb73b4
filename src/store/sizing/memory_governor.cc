#include "store/sizing/memory_governor.h"

#include <algorithm>

namespace tensorcache::sizing {
namespace {

constexpr double kPressure = 0.05;           // fraction of time: tasks stall for memory a little, before users notice
constexpr std::uint64_t kScarce = 20;        // less than 1/20 of the total available counts as pressure, too
constexpr int kCalmBeforeGrowth = 30;        // periods
constexpr std::uint64_t kGrowthSteps = 32;   // periods from zero to the target
constexpr std::uint64_t kSlack = 16;         // differences below 1/16 are ignored

}   // namespace

std::uint64_t MemoryGovernor::wanted(const MemoryReading& reading, std::uint64_t used_bytes) const {
  const double free = static_cast<double>(std::min(reading.total_bytes, reading.available_bytes + used_bytes));
  return std::max(options_.floor_bytes, static_cast<std::uint64_t>(free * options_.share));
}

std::uint64_t MemoryGovernor::first(const std::optional<MemoryReading>& reading) const {
  return reading ? wanted(*reading, 0) : options_.floor_bytes;
}

std::uint64_t MemoryGovernor::next(const std::optional<MemoryReading>& reading, std::uint64_t capacity_bytes, std::uint64_t used_bytes) {
  if (!reading) return capacity_bytes;
  const std::uint64_t target = wanted(*reading, used_bytes);
  if (reading->pressure > kPressure || reading->available_bytes < reading->total_bytes / kScarce) {
    calm_periods_ = 0;
    // Shrinks relative to the bytes in use, not to the capacity: only that frees memory.
    const std::uint64_t less = std::min(capacity_bytes, used_bytes) / 4 * 3;
    return std::min(capacity_bytes, std::max(options_.floor_bytes, std::min(target, less)));
  }
  calm_periods_ = std::min(calm_periods_ + 1, kCalmBeforeGrowth);
  if (target < capacity_bytes - capacity_bytes / kSlack) return target;
  if (target < capacity_bytes + capacity_bytes / kSlack || calm_periods_ < kCalmBeforeGrowth) return capacity_bytes;
  return std::min(target, capacity_bytes + std::max<std::uint64_t>(1, target / kGrowthSteps));
}

}   // namespace tensorcache::sizing
