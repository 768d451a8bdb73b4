// Large buffers straight from the system, and those that were given back kept for the next: a fresh 1 MiB costs 256 page
// faults, several times what copying it costs. Kept ("idle") buffers stay charged to the budget until they are unmapped.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "tier/budget.h"

namespace tensorcache::detail {

// Threads: all members from any thread.
class BufferPool {
 public:
  // Values from here on live in pooled buffers; malloc does well enough below.
  static constexpr std::size_t kSmallestBytes = std::size_t{128} << 10;

  explicit BufferPool(Budget& budget) : budget_(budget) {}
  ~BufferPool() { release(~std::uint64_t{0}); }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // What a buffer for `value_bytes` takes: whole pages, 32 sizes for each doubling, so at most 3 % more.
  [[nodiscard]] static std::size_t rounded(std::size_t value_bytes);

  // An idle buffer of exactly that rounded size, its charge with it; null if there is none.
  [[nodiscard]] std::byte* take(std::size_t buffer_bytes);
  // A fresh one, page aligned and, below 8 MiB, already faulted in, charged by the caller. Null if the system has no memory.
  [[nodiscard]] static std::byte* map(std::size_t buffer_bytes);
  // Gives a buffer back, its charge with it: kept idle, or unmapped if many are.
  void put(std::byte* buffer, std::size_t buffer_bytes);
  // Unmaps idle buffers until at least `wanted_bytes` went back to the budget. False if there was nothing to unmap.
  bool release(std::uint64_t wanted_bytes);

 private:
  struct Idle;
  static constexpr std::size_t kStepsPerDoubling = 32;
  static constexpr std::size_t kSizes = kStepsPerDoubling * 24;   // up to 2 TiB
  [[nodiscard]] static std::size_t size_index(std::size_t buffer_bytes);

  Budget& budget_;
  std::mutex mutex_;
  std::uint64_t idle_bytes_ = 0;
  std::array<Idle*, kSizes> idle_{};
};

}   // namespace tensorcache::detail
