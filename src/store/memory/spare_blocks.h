// Blocks of memory that evicted entries left, for those that are stored next: neither malloc nor
// the budget is asked, which threads that store at the same time would wait for. They stay charged
// to the budget.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "store/memory/budget.h"
#include "store/memory/spin_mutex.h"

namespace tensorcache::memory {

// THREADS: all members from any thread. A thread mostly finds what it left itself.
class SpareBlocks {
 public:
  explicit SpareBlocks(Budget& budget) : budget_(budget) {}
  ~SpareBlocks() { release_all(); }
  SpareBlocks(const SpareBlocks&) = delete;
  SpareBlocks& operator=(const SpareBlocks&) = delete;

  // One of exactly that size (Layout::block_bytes), its charge with it; null if there is none.
  [[nodiscard]] void* take(std::size_t block_bytes);
  // Keeps a block, its charge with it. False, and it stays the caller's: there are enough.
  [[nodiscard]] bool keep(void* block, std::size_t block_bytes);
  // Frees the calling thread's until at least `wanted_bytes` went back to the budget. False if
  // there were none.
  bool release_own(std::uint64_t wanted_bytes);
  bool release_all();
  [[nodiscard]] std::uint64_t charged_bytes() const;

 private:
  static constexpr std::size_t kShelves = 8, kBlocks = 16;
  static constexpr std::uint64_t kShare = 128;   // of the capacity, what a shelf may hold
  struct Spare {
    void* block;
    std::size_t bytes;
  };
  struct alignas(64) Shelf {
    mutable SpinMutex mutex;
    std::atomic<std::size_t> count{0};   // written under the mutex
    std::uint64_t charged_bytes TC_GUARDED_BY(mutex) = 0;
    std::array<Spare, kBlocks> spares TC_GUARDED_BY(mutex);
  };
  [[nodiscard]] Shelf& own();
  bool release(Shelf& shelf, std::uint64_t wanted_bytes);

  Budget& budget_;
  std::array<Shelf, kShelves> shelves_;
};

}   // namespace tensorcache::memory
