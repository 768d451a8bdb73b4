// Gives memory back: evicts where the budget has no room, and frees what nobody refers to any more.
// The two are one: freeing the last child of a parked entry makes that one a victim again.
//
// THREADS: all members from any thread, with no lock held unless a member says otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "store/memory/memory_state.h"

namespace tensorcache::memory {

class MemoryTier;

// Keeps the tier: as long as it is not closed, or memory with an entry is left.
class BlockCount {
 public:
  explicit BlockCount(MemoryTier& tier) : tier_(tier) {}
  void add(std::int64_t blocks);   // frees the tier if none are left
 private:
  MemoryTier& tier_;
  std::atomic<std::int64_t> blocks_{1};   // and one more until the tier is closed
};

class Evictor {
 public:
  using Spare = EntryMemory::Spare;
  Evictor(MemoryState& state, MemoryTier& tier) : state_(state), blocks_(tier) {}
  Evictor(const Evictor&) = delete;
  Evictor& operator=(const Evictor&) = delete;

  // Charges the budget, and evicts until it can. False: there is nothing left that could go.
  [[nodiscard]] bool make_room(std::uint64_t bytes);
  // A new entry, charged; null: no room. Throws std::bad_alloc.
  [[nodiscard]] Entry* allocate(const Layout& layout);
  // Makes room for memory that the policy was refused.
  void make_policy_room();
  void resize(std::uint64_t capacity_bytes);
  // After something was let go of that a smaller budget may wait for. Does nothing while another
  // thread is at it, which looks again: a reader must not do the work of a resize().
  void trim();

  // Drops a reference. RETURNS whether the entry is gone and this was the last one: reclaim() it.
  [[nodiscard]] bool drop(Entry& entry, std::uint64_t unit);
  // Frees an entry that nobody refers to, and its ancestors of which that is true then.
  void reclaim(Entry* entry) { blocks_.add(-free_chain(entry, Spare::kNo)); }
  // Frees what was taken out of the index, after every reader who might have found it is gone.
  void sweep(const Garbage& garbage, Spare spare = Spare::kNo);
  // Replaces a shard's table by a larger one, if there is room.
  void grow_table(Shard& shard, std::uint64_t bytes);
  // Blocks of memory with an entry that come or go. While one is counted, the tier is not freed.
  void count_blocks(std::int64_t blocks) { blocks_.add(blocks); }

 private:
  [[nodiscard]] bool free_some(std::uint64_t bytes);   // false: there is nothing left that could go
  [[nodiscard]] bool evict();
  [[nodiscard]] bool take_out(Entry& victim, Garbage& garbage);
  void fit_capacity();   // as far as anything can go
  void trim_until_none_asks();
  [[nodiscard]] std::int64_t free_chain(Entry* entry, Spare spare);   // RETURNS: the blocks, which the caller counts
  void shrink_table(Shard& shard);
  template <class Wanted>
  void replace_table(Shard& shard, std::uint64_t charged_bytes, const Wanted& wanted_bytes);
  // While one lives, the thread is evicting already, and must not wait for itself.
  struct MakingRoom {
    MakingRoom() { ++depth; }
    ~MakingRoom() { --depth; }
    MakingRoom(const MakingRoom&) = delete;
    MakingRoom& operator=(const MakingRoom&) = delete;
    static thread_local int depth;
  };

  MemoryState& state_;
  BlockCount blocks_;
  std::atomic<std::uint32_t> trims_{0};   // asked for since one thread began, who does them all
};

// Bytes of the budget for what the policy is about to keep. Those that nobody takes go back.
class Allowance {
 public:
  Allowance(Evictor& evictor, Budget& budget, std::uint64_t bytes) : budget_(budget), bytes_(bytes != 0 && evictor.make_room(bytes) ? bytes : 0) {}
  ~Allowance() {
    if (bytes_ != 0) budget_.give_back(bytes_);
  }
  Allowance(const Allowance&) = delete;
  Allowance& operator=(const Allowance&) = delete;
  [[nodiscard]] std::uint64_t take() { return std::exchange(bytes_, 0); }

 private:
  Budget& budget_;
  std::uint64_t bytes_;
};

}   // namespace tensorcache::memory
