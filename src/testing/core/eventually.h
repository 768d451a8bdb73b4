// Tests only: waits for what another thread does.
#pragma once

#include <chrono>
#include <thread>

namespace tensorcache::testing {

// RETURNS whether `condition` became true before the deadline, which is long enough for a busy
// machine: a test that passes does not wait for it. Assert the result.
template <class Condition>
[[nodiscard]] bool eventually(const Condition& condition, std::chrono::milliseconds deadline = std::chrono::seconds(60)) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}   // namespace tensorcache::testing
