// Values in memory: an index, an eviction policy, and a budget that is never passed.
//
// A hit takes no lock: in a read section of Epochs it finds the entry, pins it and notes the use.
// Allocating, evicting and dropping references happen with no lock held. The locks of all others,
// and their order: docs/architecture.md.
//
// An entry's life, each transition and the lock it needs: see entry_state.h. Whoever takes an entry
// out of the index pins it until every section in which it may have been found is over. Only an
// entry without pins and children is evicted; one that the policy chose but that has some is
// parked, out of the policy's hands, until it has none. An expired entry is taken out although
// others are chained behind it.
//
// Parts: MemoryState (Index, Epochs, EvictionOrder, EntryMemory, Budget), Evictor (makes room,
// frees what nobody refers to), Remover (remove, expire, clear). This class is what callers see: it
// looks up and stores.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "store/memory/evictor.h"
#include "store/memory/memory_state.h"
#include "store/memory/remover.h"
#include "store/policy/policy.h"
#include "tensorcache/handle.h"

namespace tensorcache::memory {

// THREADS: all members from any thread. See cache.h for what each promises.
class MemoryTier {
 public:
  using Clock = MemoryState::Clock;   // called with locks held: must not throw, block or use the tier

  // Whether the policy may refuse a block that is worth less than what would have to go for it. Not
  // above a disk, which gets what is stored here.
  enum class Admission : std::uint8_t { kAll, kSelective };
  // Closed when the last of these pointers goes: empty then, and freed with the last handle or
  // reservation.
  [[nodiscard]] static std::shared_ptr<MemoryTier> make(std::uint64_t capacity_bytes, std::unique_ptr<policy::Policy> policy, Clock clock,
                                                        Admission admission = Admission::kAll);
  MemoryTier(const MemoryTier&) = delete;
  MemoryTier& operator=(const MemoryTier&) = delete;

  [[nodiscard]] Reservation reserve(const Key& key, std::size_t value_bytes, const PutOptions& options);
  // With `pinned`, also hands out what is stored under the key then (kStored, kAlreadyStored).
  PutStatus commit(Reservation draft, Handle* pinned = nullptr);
  // The same for a value that was stored elsewhere `age` ago and lives for `time_to_live` from then
  // (0: for ever).
  PutStatus commit_aged(Reservation draft, std::chrono::milliseconds age, std::chrono::milliseconds time_to_live, Handle* pinned = nullptr);
  // Both in one, with a copy of `value`.
  PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned = nullptr);
  // A value of no key and outside the budget, for a caller who must get it although it does not
  // fit.
  [[nodiscard]] Handle detached(std::span<const std::byte> value, const PutOptions& options);

  enum class Count : std::uint8_t { kNo, kYes, kHits };   // kHits: no misses
  [[nodiscard]] Handle get(const Key& key, Count count);
  [[nodiscard]] Handle share(const Handle& handle);
  [[nodiscard]] PrefixMatch match(std::span<const Key> chain, std::size_t of);
  [[nodiscard]] PrefixMatch pin(std::span<const Key> chain);
  [[nodiscard]] std::optional<std::size_t> pin_next(PrefixMatch& run, std::span<const Key> keys);
  void use(const PrefixMatch& run, std::size_t of);
  void demote(std::span<const Key> chain);
  void advise(std::span<const Key> chain, const Hints& hints);
  [[nodiscard]] std::size_t peek(std::span<const Key> chain) const;
  [[nodiscard]] bool contains(const Key& key) const;

  using OnRemoved = Remover::OnRemoved;   // is told of all entries but one that goes alone
  bool remove(const Key& key, const OnRemoved& on_removed = {}) { return remover_.remove(key, on_removed); }
  std::uint64_t clear(const Selection& what, const OnRemoved& on_removed = {}) { return remover_.clear(what, on_removed); }
  std::uint64_t clear(std::optional<std::uint64_t> owner) { return clear(Selection{owner, {}, {}}); }
  void resize(std::uint64_t capacity_bytes) { evictor_.resize(capacity_bytes); }

  [[nodiscard]] Stats stats() const;
  [[nodiscard]] Stats stats(std::uint64_t owner) const;
  [[nodiscard]] std::vector<EntryInfo> list(std::optional<std::uint64_t> owner, std::size_t limit);
  [[nodiscard]] std::chrono::steady_clock::time_point now() const { return state_.clock(); }

  // Bytes of the budget for what belongs to the cache and lies elsewhere; makes room. False: there
  // is none.
  [[nodiscard]] bool charge(std::uint64_t bytes) { return evictor_.make_room(bytes); }
  void give_back(std::uint64_t bytes) { state_.budget.give_back(bytes); }
  // A stored value's entry, as long as the handle holds it.
  [[nodiscard]] static const Entry& entry_of(const Handle& handle) { return *handle.entry_; }
  [[nodiscard]] static Key key_of(const Reservation& draft) { return draft.entry_->key(); }
  // The tier whose value a handle holds.
  [[nodiscard]] static const MemoryTier& tier_of(const Handle& handle) { return *handle.tier_; }
  // Look-ups so far: each read section is one. For tests that count them.
  [[nodiscard]] std::uint64_t read_sections() const { return state_.epochs.sections(); }
  [[nodiscard]] static bool replaces(const Reservation& draft) { return draft.entry_ != nullptr && draft.replaces_; }
  [[nodiscard]] static bool is_urgent(const Reservation& draft) { return draft.urgent_; }
  // Removed or evicted since the handle was made.
  [[nodiscard]] static bool is_gone(const Handle& handle) { return handle.entry_->has(kGone); }
  [[nodiscard]] bool is_expired(const Handle& handle) const { return state_.is_expired(*handle.entry_); }

  // For Handle and Reservation: they let go.
  void unpin(Entry* entry);
  void discard(Entry* draft);

 private:
  friend class BlockCount;   // frees the tier
  MemoryTier(std::uint64_t capacity_bytes, std::unique_ptr<policy::Policy> policy, Clock clock, Admission admission);
  ~MemoryTier() = default;

  // put.cc
  [[nodiscard]] PutStatus rejected(PutStatus status);
  [[nodiscard]] bool is_admitted(const Key& key, const Layout& layout, const PutOptions& options, Entry* parent);
  [[nodiscard]] Entry* allocate(const Key& key, std::size_t value_bytes, const PutOptions& options, Entry* parent);
  [[nodiscard]] PutStatus publish(Reservation draft, Handle* pinned, std::chrono::milliseconds age);
  // One step of publish(), under the shard's lock. Without a status: first grow the shard's table
  // to `wanted_table_bytes`, or remove what has expired under the key.
  struct Step {
    std::optional<PutStatus> status;
    std::uint64_t wanted_table_bytes = 0;
  };
  [[nodiscard]] Step publish_locked(Shard& shard, Reservation& draft, Handle* pinned, std::chrono::milliseconds age, bool may_grow,
                                    Allowance& allowance, Garbage& garbage) TC_REQUIRES(shard.mutex);
  [[nodiscard]] bool link_locked(Shard& shard, Entry& entry, Entry* replaced, Garbage& garbage) TC_REQUIRES(shard.mutex);
  static void set_lifetime(Entry& entry, std::chrono::milliseconds age, std::chrono::steady_clock::time_point now);
  [[nodiscard]] Entry* hold_parent(const Key& key);
  void let_go_of_parent(Entry* parent);

  // lookup.cc. REQUIRES: a read section.
  struct Found {   // the longest leading run
    Entry* last = nullptr;
    std::size_t length = 0;
    bool expired = false;   // the one behind it
  };
  [[nodiscard]] Found longest(std::span<const Key> chain) const;
  [[nodiscard]] Found longest_step_by_step(std::span<const Key> chain) const;
  // Pins the entries of the stored run, its last first; `only_end`: those at its end that nothing
  // else is chained behind. No section.
  struct Held {
    Handle last;
    std::vector<Entry*> entries;
  };
  [[nodiscard]] Held hold_run(std::span<const Key> chain, bool only_end);
  [[nodiscard]] Handle pin(Entry& entry);

  const Admission admission_;
  MemoryState state_;
  Evictor evictor_{state_, *this};
  Remover remover_{state_, evictor_};
};

}   // namespace tensorcache::memory
