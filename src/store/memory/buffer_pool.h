// Large buffers straight from the system, and those that were given back kept for the next: a fresh
// 1 MiB costs 256 page faults, several times what copying it costs. Kept ("idle") buffers stay
// charged to the budget until their pages went back to the system.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/core/mutex.h"
#include "store/memory/budget.h"
#include "store/memory/regions.h"

namespace tensorcache::memory {

// THREADS: all members from any thread.
class BufferPool {
 public:
  // Values from here on live in pooled buffers; malloc does well enough below.
  static constexpr std::size_t kSmallestBytes = std::size_t{128} << 10;

  explicit BufferPool(Budget& budget) : budget_(budget) {}
  ~BufferPool() { release(~std::uint64_t{0}); }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // What a buffer for `value_bytes` takes: whole pages, 32 sizes for each doubling, so at most 3 %
  // more.
  [[nodiscard]] static std::size_t rounded(std::size_t value_bytes);

  // An idle buffer of exactly that rounded size, its charge with it; null if there is none.
  [[nodiscard]] std::byte* take(std::size_t buffer_bytes);
  // A fresh one, page aligned and, below 8 MiB, already faulted in, charged by the caller. Null and
  // std::bad_alloc as Regions::take().
  [[nodiscard]] std::byte* map(std::size_t buffer_bytes) { return regions(buffer_bytes).take(buffer_bytes); }
  // Gives a buffer back, its charge with it: kept idle, or given back to the system if many are.
  void put(std::byte* buffer, std::size_t buffer_bytes);
  // Gives idle buffers back to the system until at least `wanted_bytes` went back to the budget.
  // False if none could be.
  bool release(std::uint64_t wanted_bytes);
  [[nodiscard]] std::uint64_t idle_bytes() const {
    const MutexLock lock(mutex_);
    return idle_bytes_;
  }

 private:
  struct Idle;
  static constexpr std::size_t kStepsPerDoubling = 32;
  static constexpr std::size_t kSizes = kStepsPerDoubling * 24;   // up to 2 TiB
  // From here on huge pages fill most of a buffer, in a seventh of the time that small ones take;
  // and not all of it may be written.
  static constexpr std::size_t kHugeFromBytes = std::size_t{8} << 20;
  [[nodiscard]] static std::size_t size_index(std::size_t buffer_bytes);
  [[nodiscard]] Regions& regions(std::size_t buffer_bytes) { return buffer_bytes < kHugeFromBytes ? small_ : huge_; }
  void push_idle_locked(std::byte* buffer, std::size_t buffer_bytes) TC_REQUIRES(mutex_);
  [[nodiscard]] bool give_back(std::byte* buffer, std::size_t buffer_bytes);   // and its charge

  Budget& budget_;
  // Granules as rounded() makes them; a region's account is 8 KiB or less.
  Regions small_{budget_, std::size_t{4} << 10, std::size_t{256} << 20, PageSize::kSmall};
  Regions huge_{budget_, kHugeFromBytes / kStepsPerDoubling, std::size_t{4} << 30, PageSize::kHuge};
  mutable Mutex mutex_;
  std::uint64_t idle_bytes_ TC_GUARDED_BY(mutex_) = 0;
  std::array<Idle*, kSizes> idle_ TC_GUARDED_BY(mutex_){};
};

}   // namespace tensorcache::memory
