// Deadlines that do not overflow for any duration.
#pragma once

#include <algorithm>
#include <chrono>

namespace tensorcache {

// Practically never, but small enough that adding it to a time point does not overflow.
inline constexpr std::chrono::hours kLongestWait{24 * 365 * 10};

[[nodiscard]] inline std::chrono::milliseconds clamped_wait(std::chrono::milliseconds time) {
  return std::clamp<std::chrono::milliseconds>(time, std::chrono::milliseconds(0), kLongestWait);
}

[[nodiscard]] inline std::chrono::steady_clock::time_point deadline_after(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + clamped_wait(time);
}

}   // namespace tensorcache
