// Who may write a key, one at a time, for a limited time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "tensorcache/key.h"

namespace tensorcache::tensor {

// Threads: all members from any thread.
class Leases {
 public:
  using Clock = std::chrono::steady_clock;
  // A token for release() and holds(); 0: somebody held it for all of `patience`.
  [[nodiscard]] std::uint64_t take(const Key& key, std::chrono::milliseconds patience, std::chrono::milliseconds hold);
  void release(const Key& key, std::uint64_t token);
  [[nodiscard]] bool holds(const Key& key, std::uint64_t token) const;

 private:
  struct State {
    std::uint64_t token = 0;   // 0: free
    Clock::time_point until;
    std::size_t waiting = 0;
    std::condition_variable changed;
  };
  mutable std::mutex mutex_;
  std::unordered_map<Key, State> held_;
  std::uint64_t last_token_ = 0;
};

}   // namespace tensorcache::tensor
