// The eviction policy under its lock, and how uses reach it.
//
// A hit takes no lock, so it only notes the use: in its slot of Epochs, or, where the policy reads
// ticks itself, as a tick in the entry. Whoever takes the lock applies the notes first.
//
// Entries in the order are linked; pop_victims() takes them out of it. One that was popped but
// cannot go is parked (kParked), until unpark() or a use puts it back. See entry_state.h.
//
// THREADS: all members from any thread. Its lock is below a shard's (docs/architecture.md).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "store/memory/budget.h"
#include "store/memory/entry.h"
#include "store/memory/epochs.h"
#include "store/memory/policy_account.h"
#include "store/memory/spin_mutex.h"
#include "store/policy/policy.h"
#include "store/policy/retention.h"

namespace tensorcache::memory {

class EvictionOrder {
 public:
  // Called with the lock held: must not throw, block or use the tier.
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  EvictionOrder(Budget& budget, Epochs& epochs, std::unique_ptr<policy::Policy> policy, Clock clock);
  EvictionOrder(const EvictionOrder&) = delete;
  EvictionOrder& operator=(const EvictionOrder&) = delete;

  // Whether announce() has any effect: constant.
  [[nodiscard]] bool wants_reservations() const { return wants_reservations_; }
  [[nodiscard]] bool is_selective() const { return is_selective_; }
  // Announces a new node before room is made for it. RETURNS whether it is admitted, which is asked
  // only if `selective`.
  [[nodiscard]] bool announce(const policy::PolicyNode& node, bool selective);

  // Adds an entry. `allowed_bytes`: charged for what hints may keep; what is not needed goes back
  // to the budget.
  void insert(Entry& entry, const Hints& hints, std::uint64_t allowed_bytes);
  // Removes an entry that is linked or parked and gone.
  void erase(Entry& entry);
  // Puts an entry back if it is still parked.
  void unpark(Entry& entry);
  // Applies hints to those of `entries` that are linked or parked, the last first.
  void advise(std::span<Entry* const> entries, const Hints& hints, std::uint64_t allowed_bytes);
  void demote(std::span<Entry* const> entries);

  // Takes up to `room.size()` entries out of the order, each with a pin, which keeps it until its
  // shard is locked: at least one if there is any, more where there are many. evicted() follows.
  struct Victims {
    std::size_t count;
    bool others_evict;   // other threads have victims whose memory is not back yet
  };
  [[nodiscard]] Victims pop_victims(std::span<Entry*> room);
  void evicted(std::size_t victims) { evicting_.fetch_sub(victims); }

  // Notes a use, of a reader in a section. RETURNS as Section::note().
  [[nodiscard]] bool note_use(Entry& entry, Epochs::Section& section) {
    if (!published_.lazy.load(std::memory_order_relaxed)) return section.note({&entry});
    entry.set_last_use(published_.ticks.load(std::memory_order_relaxed));
    if (section.hits() % kHitsPerMove == 0) published_.ticks.fetch_add(kHitsPerMove, std::memory_order_relaxed);
    return false;
  }
  // Applies what was noted in these slots. RETURNS as Epochs::collect(). REQUIRES: no section.
  [[nodiscard]] Epochs::Slots flush(Epochs::Slots slots);
  // Applies what the calling thread noted, unless the lock is taken.
  void flush_own_if_free();
  // Applies what was noted, but for uses in sections that go on. RETURNS the present tick.
  std::uint32_t flush_all();

  // Changes the capacity of the budget and of the policy.
  void resize(std::uint64_t capacity_bytes);
  // Whether the policy was refused memory. RETURNS: how much room to make for it now; add_room()
  // hands over what was charged.
  [[nodiscard]] bool wants_room() const { return account_.wants_room(); }
  [[nodiscard]] std::uint64_t take_wanted();
  void add_room(std::uint64_t bytes);
  // Frees the policy's history. False: that gave nothing back.
  bool shed();
  [[nodiscard]] std::uint64_t policy_bytes() const { return account_.bytes(); }

 private:
  static constexpr std::uint32_t kHitsPerMove = 256;   // of a thread, where only ticks are noted

  void apply_locked(const Use& use) TC_REQUIRES(mutex_);
  void touch_locked(Entry& entry) TC_REQUIRES(mutex_);
  void put_back_locked(Entry& entry) TC_REQUIRES(mutex_);
  [[nodiscard]] Epochs::Slots flush_locked(Epochs::Slots slots) TC_REQUIRES(mutex_);
  void flush_own_locked() TC_REQUIRES(mutex_) { static_cast<void>(flush_locked(Epochs::own_slot())); }
  [[nodiscard]] std::uint32_t next_tick_locked() TC_REQUIRES(mutex_);
  void publish_mode_locked() TC_REQUIRES(mutex_);
  void end_kept_locked() TC_REQUIRES(mutex_);
  template <class Do>
  void for_held(std::span<Entry* const> entries, std::uint64_t allowed_bytes, const Do& with);

  Budget& budget_;
  Epochs& epochs_;
  PolicyAccount account_{budget_};   // before the policy, which gives back to it at last
  const bool wants_reservations_, is_selective_;

  alignas(64) SpinMutex mutex_;
  const std::unique_ptr<policy::Retention> policy_ TC_PT_GUARDED_BY(mutex_);
  std::size_t linked_ TC_GUARDED_BY(mutex_) = 0;
  std::uint32_t unpublished_ticks_ TC_GUARDED_BY(mutex_) = 0;   // that readers are not shown yet
  std::atomic<std::size_t> evicting_{0};                        // victims before evicted(); raised under the lock

  // Readers' own cache line, which changes rarely.
  struct alignas(64) {
    std::atomic<std::uint32_t> ticks{0};   // the clock of uses
    std::atomic<bool> lazy{false};         // ticks suffice: the policy need not be told of uses
  } published_;
};

}   // namespace tensorcache::memory
