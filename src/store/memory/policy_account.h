// The policy's memory, charged to the budget. A policy asks while the owner holds a lock, when
// nothing can be evicted: what it was refused is noted, room is made for it later, and it gets that
// when it asks again.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "store/policy/memory_account.h"
#include "store/memory/budget.h"

namespace tensorcache::memory {

// Needs the policy's lock, but for wanted_bytes() and bytes().
class PolicyAccount final : public policy::MemoryAccount {
 public:
  explicit PolicyAccount(Budget& budget) : budget_(budget) {}

  [[nodiscard]] bool try_take(std::uint64_t bytes) noexcept override {
    if (bytes > most_bytes() - std::min(most_bytes(), taken_)) return false;
    if (room_ >= bytes) {
      room_ -= bytes;
    } else if (!budget_.try_charge(bytes)) {
      wanted_.store(std::max(wanted_.load(std::memory_order_relaxed), bytes), std::memory_order_relaxed);
      return false;
    }
    taken_ += bytes;
    show();
    return true;
  }
  void give_back(std::uint64_t bytes) noexcept override {
    taken_ -= bytes;
    budget_.give_back(bytes);
    show();
  }
  // Bytes that the caller has charged.
  void add_room(std::uint64_t bytes) {
    room_ += bytes;
    show();
  }
  void drop_room() {
    budget_.give_back(room_);
    room_ = 0;
    wanted_.store(0, std::memory_order_relaxed);
    show();
  }
  // Of what was refused, how much room to make now: a little at a time, so that no put evicts much
  // for it.
  [[nodiscard]] std::uint64_t take_wanted() {
    const std::uint64_t wanted = wanted_.exchange(0, std::memory_order_relaxed);
    return wanted > room_ ? std::min(wanted - room_, budget_.capacity() / kStepShare + 1) : 0;
  }
  [[nodiscard]] bool wants_room() const { return wanted_.load(std::memory_order_relaxed) != 0; }
  [[nodiscard]] bool has_too_much() const { return taken_ > most_bytes(); }
  [[nodiscard]] std::uint64_t bytes() const { return published_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint64_t kMaxShare = 4, kStepShare = 256;   // of the capacity
  [[nodiscard]] std::uint64_t most_bytes() const { return budget_.capacity() / kMaxShare; }
  void show() { published_.store(taken_ + room_, std::memory_order_relaxed); }

  Budget& budget_;
  std::uint64_t taken_ = 0, room_ = 0;
  std::atomic<std::uint64_t> wanted_{0}, published_{0};
};

}   // namespace tensorcache::memory
