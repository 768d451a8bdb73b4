// Epoch-based reclamation, and the log of uses. A lookup takes no lock: it is a read section, which
// makes the counter of a slot odd while it lasts. Whoever took an entry out of the index frees it
// only after every slot was seen even once, so never under a reader. Uses are noted in the slot, as
// nobody else writes there meanwhile, and are told to the policy later, many at once.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "store/memory/entry.h"
#include "store/memory/thread_number.h"

namespace tensorcache::memory {

// A use of one value, or of a run: `entry` is its last, null if nothing of a chain was found.
struct Use {
  Entry* entry = nullptr;
  std::uint32_t run = 0, chain = 0;   // values found, of a chain of so many; 0 and 0: a value by itself
};

// THREADS: all members from any thread.
class Epochs {
 public:
  static constexpr std::size_t kSlots = 32, kUses = 31;

 private:
  // Whoever made `turn` odd has the slot to himself; making it even again ends that.
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> turn{0};
    std::atomic<std::uint64_t> hits{0}, misses{0};   // written by who has the slot
    std::atomic<std::uint32_t> used{0};              // likewise
    std::array<Use, kUses> uses{};
  };

 public:
  // Nothing that is found in a section is freed before its end. REQUIRES: short, takes no lock, the
  // only one of its thread.
  class Section {
   public:
    explicit Section(Epochs& epochs) : slot_(epochs.enter()) {}
    ~Section() { slot_.turn.store(slot_.turn.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;

    void count(std::uint64_t hits, std::uint64_t misses) {
      if (hits != 0) slot_.hits.store(slot_.hits.load(std::memory_order_relaxed) + hits, std::memory_order_relaxed);
      if (misses != 0) slot_.misses.store(slot_.misses.load(std::memory_order_relaxed) + misses, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t hits() const { return slot_.hits.load(std::memory_order_relaxed); }   // counted in this slot
    // RETURNS whether the slot is full: it is time to tell the policy.
    bool note(const Use& use) {
      std::uint32_t used = slot_.used.load(std::memory_order_relaxed);
      if (used < kUses) {
        slot_.uses[used++] = use;
        slot_.used.store(used, std::memory_order_relaxed);
      }
      return used == kUses;
    }

   private:
    Slot& slot_;
  };

  using Slots = std::uint32_t;   // a bit for each
  static constexpr Slots kAllSlots = ~Slots{0};
  // Calls `tell` for each use noted in the slots of `left`. RETURNS those slots that somebody has
  // just now. Once a caller that began with kAllSlots has none left, every section that had begun
  // before is over, and what was noted in it is told. REQUIRES: the policy's lock, no section.
  template <class Tell>
  [[nodiscard]] Slots collect(const Tell& tell, Slots left) {
    const std::size_t count = used_slots_.load();
    if (count < kSlots) left &= (Slots{1} << count) - 1;
    for (Slots rest = left; rest != 0; rest &= rest - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(rest));
      if (is_empty(slots_[i]) || collect(slots_[i], tell)) left &= ~(Slots{1} << i);
    }
    return left;
  }
  // The slot in which the calling thread notes, unless another one had it.
  [[nodiscard]] static Slots own_slot() { return Slots{1} << home(); }

  [[nodiscard]] std::uint64_t hits() const { return sum(&Slot::hits); }
  [[nodiscard]] std::uint64_t misses() const { return sum(&Slot::misses); }
  // The number of sections that have ended, collect()'s own not counted.
  [[nodiscard]] std::uint64_t sections() const { return sum(&Slot::turn) / 2 - collected_.load(std::memory_order_relaxed); }

 private:
  // Loads what the policy will touch, all at once rather than one wait after the other.
  static void fetch_ahead(std::span<const Use> uses) {
    for (const Use& use : uses) {
      if (use.entry != nullptr) __builtin_prefetch(&use.entry->prev);
    }
    for (const Use& use : uses) {
      if (use.entry == nullptr || !use.entry->has(kLinked)) continue;
      __builtin_prefetch(use.entry->prev);
      __builtin_prefetch(use.entry->next);
    }
  }
  // Whether nobody has the slot and nothing is noted in it.
  [[nodiscard]] static bool is_empty(const Slot& slot) { return (slot.turn.load() & 1) == 0 && slot.used.load(std::memory_order_relaxed) == 0; }
  // False: somebody has the slot.
  template <class Tell>
  [[nodiscard]] bool collect(Slot& slot, const Tell& tell) {
    if (!try_take(slot)) return false;
    collected_.store(collected_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);   // under the policy's lock
    // Told outside the slot: a reader must not wait for the policy.
    const std::uint32_t used = slot.used.load(std::memory_order_relaxed);
    std::array<Use, kUses> uses;
    std::copy_n(slot.uses.begin(), used, uses.begin());
    slot.used.store(0, std::memory_order_relaxed);
    slot.turn.store(slot.turn.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    fetch_ahead(std::span(uses).first(used));
    for (std::uint32_t u = 0; u < used; ++u) tell(uses[u]);
    return true;
  }
  [[nodiscard]] static bool try_take(Slot& slot) {
    std::uint64_t turn = slot.turn.load(std::memory_order_relaxed);
    return (turn & 1) == 0 && slot.turn.compare_exchange_strong(turn, turn + 1);
  }
  [[nodiscard]] static std::size_t home() { return thread_number() % kSlots; }   // of the calling thread
  [[nodiscard]] Slot& enter() {
    const std::size_t at = home();
    return at < used_slots_.load(std::memory_order_acquire) && try_take(slots_[at]) ? slots_[at] : enter_any(at);
  }
  [[nodiscard]] Slot& enter_any(std::size_t at);
  [[nodiscard]] std::uint64_t sum(std::atomic<std::uint64_t> Slot::* counter) const {
    std::uint64_t sum = 0;
    for (const Slot& slot : slots_) sum += (slot.*counter).load(std::memory_order_relaxed);
    return sum;
  }

  std::atomic<std::uint64_t> collected_{0};   // slots taken by collect()
  std::atomic<std::size_t> used_slots_{0};    // those from here on were never taken
  std::array<Slot, kSlots> slots_;
};

}   // namespace tensorcache::memory
