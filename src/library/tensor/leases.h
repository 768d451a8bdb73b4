// Exclusive, time-limited leases of keys.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "tensorcache/key.h"

namespace tensorcache::tensor {

// THREADS: all members from any thread.
class Leases {
  struct State;

 public:
  using Clock = std::chrono::steady_clock;
  // RETURNS a token; 0 if the lease was held by others until the timeout.
  [[nodiscard]] std::uint64_t take(const Key& key, std::chrono::milliseconds timeout, std::chrono::milliseconds hold);
  void release(const Key& key, std::uint64_t token);
  // RETURNS: how many threads wait for the key's lease now. For tests.
  [[nodiscard]] std::size_t waiting(const Key& key) const;
  [[nodiscard]] bool holds(const Key& key, std::uint64_t token) const;

  // A write under a lease. Until it ends no other caller gets the lease, even if it expires
  // meanwhile.
  class Write {
   public:
    Write(Leases& leases, const Key& key, std::uint64_t token);
    ~Write();
    Write(const Write&) = delete;
    Write& operator=(const Write&) = delete;
    // RETURNS false if the lease was lost before.
    [[nodiscard]] explicit operator bool() const { return state_ != nullptr; }

   private:
    Leases& leases_;
    const Key key_;
    State* state_ = nullptr;
  };

 private:
  struct State {
    std::uint64_t token = 0;   // 0: free
    Clock::time_point until;
    std::size_t waiting = 0, writing = 0;
    std::condition_variable changed;

    [[nodiscard]] bool is_held() const { return writing > 0 || (token != 0 && Clock::now() < until); }
  };
  // Called when the lease is released or its write ended.
  void free_locked(const Key& key, State& state);

  mutable std::mutex mutex_;
  std::unordered_map<Key, State> states_;   // keys that are held, written or waited for; nodes have stable addresses
  std::uint64_t last_token_ = 0;
};

}   // namespace tensorcache::tensor
