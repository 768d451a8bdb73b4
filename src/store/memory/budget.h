// The byte budget of everything in the tier, a hard limit. Charge first, then allocate.
#pragma once

#include <atomic>
#include <cstdint>

namespace tensorcache::memory {

// THREADS: all members from any thread.
class Budget {
 public:
  explicit Budget(std::uint64_t capacity_bytes) : capacity_(capacity_bytes) {}

  // Takes `bytes`, or nothing if they would not fit. Never passes the capacity, not even for an
  // instant that peak() would see.
  [[nodiscard]] bool try_charge(std::uint64_t bytes) {
    std::uint64_t used = used_.load();
    do {
      const std::uint64_t capacity = capacity_.load();
      if (bytes > capacity || used > capacity - bytes) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes));
    // Against a set_capacity() in between: either it sees this charge in used(), or this sees the
    // new capacity.
    if (used + bytes > capacity_.load()) {
      give_back(bytes);
      return false;
    }
    std::uint64_t peak = peak_.load(std::memory_order_relaxed);
    while (peak < used + bytes && !peak_.compare_exchange_weak(peak, used + bytes, std::memory_order_relaxed)) {
    }
    return true;
  }
  // Also while more is used than the capacity that was set since, for what frees more than it
  // takes; never more than was once used.
  [[nodiscard]] bool try_charge_or_exceed(std::uint64_t bytes) {
    std::uint64_t used = used_.load();
    while (used > capacity_.load() && used + bytes <= peak_.load(std::memory_order_relaxed)) {
      if (used_.compare_exchange_weak(used, used + bytes)) return true;
    }
    return try_charge(bytes);
  }
  void give_back(std::uint64_t bytes) { used_.fetch_sub(bytes); }

  void set_capacity(std::uint64_t bytes) {
    if (bytes < capacity_.load()) lowered_.store(true);
    capacity_.store(bytes);
  }
  [[nodiscard]] std::uint64_t capacity() const { return capacity_.load(); }
  [[nodiscard]] std::uint64_t used() const { return used_.load(); }
  [[nodiscard]] std::uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  // Possible only after the capacity was lowered. Costs nothing before that: it is asked whenever a
  // handle lets go.
  [[nodiscard]] bool over() const { return lowered_.load() && used() > capacity(); }

 private:
  alignas(64) std::atomic<bool> lowered_{false};   // ever
  alignas(64) std::atomic<std::uint64_t> capacity_;
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> peak_{0};
};

}   // namespace tensorcache::memory
