// Values in memory: an index, a policy, and a budget that is never passed.
//
// A hit takes no lock: it finds the entry, pins it and notes the use, in a section of Epochs. Locks of all others, always taken in this
// order, each alone or with those after it:
//   forgetting                        one walk over the index for what is to go
//   a shard                           what is stored      link, unlink
//   policy                            what goes next; notes are collected under it
//   buffer pool, spare blocks         memory for the next values
// Allocating, evicting and dropping references happen with none of them held.
//
// An entry's life, each transition and the lock it needs: see entry_state.h. Whoever takes an entry out of the index pins it until every section
// in which it may have been found is over. Only an entry without pins and children is evicted; one that the policy chose but that has some is
// parked, out of the policy's hands, until it has none. An expired entry is taken out although others are chained behind it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "store/policy/policy.h"
#include "store/policy/retention.h"
#include "tensorcache/handle.h"
#include "store/memory/budget.h"
#include "store/memory/buffer_pool.h"
#include "store/memory/entry.h"
#include "store/memory/index.h"
#include "store/memory/layout.h"
#include "store/memory/policy_account.h"
#include "store/memory/epochs.h"
#include "store/memory/spare_blocks.h"
#include "store/memory/spin_mutex.h"

namespace tensorcache::memory {

// Threads: all members from any thread. See cache.h for what each promises.
class MemoryTier {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;   // called with locks held: must not throw, block or use the tier

  // Whether the policy may refuse a block that is worth less than what would have to go for it. Not above a disk, which gets what is stored here.
  enum class Admission : std::uint8_t { kAll, kSelective };
  // Closed when the last of these pointers goes: empty then, and freed with the last handle or draft.
  [[nodiscard]] static std::shared_ptr<MemoryTier> make(std::uint64_t capacity_bytes, std::unique_ptr<policy::Policy> policy, Clock clock,
                                                        Admission admission = Admission::kAll);
  MemoryTier(const MemoryTier&) = delete;
  MemoryTier& operator=(const MemoryTier&) = delete;

  [[nodiscard]] Reservation reserve(const Key& key, std::size_t value_bytes, const PutOptions& options);
  // With `pinned`, also hands out what is stored under the key then (kStored, kAlreadyStored).
  PutStatus commit(Reservation draft, Handle* pinned = nullptr);
  // The same for a value that was stored elsewhere `age` ago and lives for `time_to_live` from then (0: for ever).
  PutStatus commit_aged(Reservation draft, std::chrono::milliseconds age, std::chrono::milliseconds time_to_live, Handle* pinned = nullptr);
  // Both in one, with a copy of `value`.
  PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned = nullptr);
  // A value of no key and outside the budget, for a caller who must get it although it does not fit.
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

  bool remove(const Key& key);
  // In slices: what is put meanwhile may be cleared, too. One clear() or remove() of a chain at a time.
  std::uint64_t clear(const Selection& what);
  std::uint64_t clear(std::optional<std::uint64_t> owner) { return clear(Selection{owner, {}, {}}); }
  void resize(std::uint64_t capacity_bytes);

  [[nodiscard]] Stats stats() const;
  [[nodiscard]] Stats stats(std::uint64_t owner) const;
  [[nodiscard]] std::vector<EntryInfo> list(std::optional<std::uint64_t> owner, std::size_t limit);
  [[nodiscard]] std::chrono::steady_clock::time_point now() const { return clock_(); }

  // Bytes of the budget for what belongs to the cache and lies elsewhere; makes room. False: there is none.
  [[nodiscard]] bool charge(std::uint64_t bytes) { return make_room(bytes); }
  void give_back(std::uint64_t bytes) { budget_.give_back(bytes); }
  // A stored value's, as long as the handle holds it.
  [[nodiscard]] static const Entry& entry_of(const Handle& handle) { return *handle.entry_; }
  [[nodiscard]] static Key key_of(const Reservation& draft) { return draft.entry_->key(); }
  // The tier whose value a handle holds.
  [[nodiscard]] static const MemoryTier& tier_of(const Handle& handle) { return *handle.tier_; }
  // Look-ups so far: each read section is one. For tests that count them.
  [[nodiscard]] std::uint64_t read_sections() const { return epochs_.sections(); }
  [[nodiscard]] static bool replaces(const Reservation& draft) { return draft.entry_ != nullptr && draft.replaces_; }
  // Removed or evicted since the handle was made.
  [[nodiscard]] static bool is_gone(const Handle& handle) { return handle.entry_->has(kGone); }

  // For Handle and Reservation: they let go.
  void unpin(Entry* entry);
  void discard(Entry* draft);

 private:
  MemoryTier(std::uint64_t capacity_bytes, std::unique_ptr<policy::Policy> policy, Clock clock, Admission admission);
  ~MemoryTier() = default;

  struct Garbage {   // taken out, each entry pinned
    Entry* entries = nullptr;
    Table* tables = nullptr;
    std::uint32_t sparse_shards = 0;   // a bit for each whose table may be too large now
    static_assert(Index::kShards <= 32);
  };

  [[nodiscard]] bool on_reserve(const Key& key, const Layout& layout, const PutOptions& options, Entry* parent);   // false: not admitted
  [[nodiscard]] PutStatus publish(Reservation draft, Handle* pinned, std::chrono::milliseconds age);
  [[nodiscard]] bool link(Shard& shard, Entry& entry, Entry* replaced, Garbage& garbage);
  static void set_lifetime(Entry& entry, std::chrono::milliseconds age, std::chrono::steady_clock::time_point now);
  // Bytes for what the policy is about to keep; what it does not take goes back.
  struct Allowance {
    MemoryTier& tier;
    std::uint64_t bytes;
    explicit Allowance(MemoryTier& of, std::uint64_t wanted_bytes)
        : tier(of), bytes(wanted_bytes != 0 && of.make_room(wanted_bytes) ? wanted_bytes : 0) {}
    ~Allowance() {
      if (bytes != 0) tier.budget_.give_back(bytes);
    }
    Allowance(const Allowance&) = delete;
    Allowance& operator=(const Allowance&) = delete;
  };
  void hand_over(Shard& shard, Entry& entry, const Hints& hints, Allowance& allowance);
  template <class Do>
  void for_chain(std::span<const Key> chain, bool only_end, std::uint64_t bytes_each, const Do& with);
  // What is stored under the key: where one is gone, another may just take its place. In a section.
  [[nodiscard]] Entry* find(const Key& key) const {
    Entry* entry = index_.find(key);
    while (entry != nullptr && entry->has(kGone)) entry = index_.find(key);
    return entry;
  }
  // The longest leading run. In a section.
  struct Found {
    Entry* last = nullptr;
    std::size_t length = 0;
    bool expired = false;   // the one behind it
  };
  [[nodiscard]] Found longest(std::span<const Key> chain) const;
  [[nodiscard]] Found longest_step_by_step(std::span<const Key> chain) const;

  // space.cc: room in the budget.
  [[nodiscard]] Entry* allocate(const Layout& layout);   // null: no room. Throws std::bad_alloc
  [[nodiscard]] std::byte* obtain_buffer(std::size_t buffer_bytes);
  [[nodiscard]] void* obtain_block(const Layout& layout);
  [[nodiscard]] bool make_room(std::uint64_t bytes);
  [[nodiscard]] bool free_some(std::uint64_t bytes);   // false: there is nothing left that could go
  void grow_table(Shard& shard, std::uint64_t bytes);
  void shrink_table(Shard& shard);
  [[nodiscard]] Shard::Fit fit() const { return budget_.over() ? Shard::Fit::kTight : Shard::Fit::kLoose; }
  template <class Wanted>
  void replace_table(Shard& shard, std::uint64_t charged_bytes, const Wanted& wanted_bytes);
  void trim_malloc(std::uint64_t used_before) const;
  enum class Spare : bool { kNo, kYes };   // whether the block is kept for the next one
  void free_memory(Entry* entry, Spare spare);
  void let_live(std::int64_t blocks);   // frees this tier when it is closed and the last block goes
  bool evict();
  [[nodiscard]] std::size_t pop_victims(std::span<Entry*> victims, bool& others_evict);
  void make_policy_room();
  bool shed_policy();    // false: it gave nothing back
  void fit_capacity();   // as far as anything can go
  void trim();
  void trim_until_none_asks();
  // While one lives, the thread is evicting already, and must not wait for itself.
  struct MakingRoom {
    MakingRoom() { ++depth; }
    ~MakingRoom() { --depth; }
    MakingRoom(const MakingRoom&) = delete;
    MakingRoom& operator=(const MakingRoom&) = delete;
    static thread_local int depth;
  };

  // references.cc: who holds an entry.
  [[nodiscard]] bool drop(Entry& entry, std::uint64_t unit);          // true: it is gone and this was the last reference
  [[nodiscard]] std::int64_t free_chain(Entry* entry, Spare spare);   // the number of blocks; let_live() is the caller's
  void reclaim(Entry* entry) { let_live(-free_chain(entry, Spare::kNo)); }
  void unpark(Entry& entry);
  [[nodiscard]] Entry* hold_parent(const Key& key);
  [[nodiscard]] Handle pin(Entry& entry);
  void put_back(Entry& entry);            // a parked one, with policy_mutex_ held
  void publish_clock_mode();              // likewise
  void end_kept();                        // likewise: the charge of what the policy no longer keeps goes back
  void flush_uses(Epochs::Slots& left);   // likewise: tells the policy what was used; see Epochs::collect
  void flush_all_uses();                  // likewise, but for uses of who is inside a section just now
  void flush_own_uses();                  // likewise, of the calling thread
  void apply_use(const Use& use);         // likewise
  void touch(Entry& entry);               // likewise
  void flush_uses_if_free();
  [[nodiscard]] std::uint32_t next_tick();                                // likewise
  static constexpr std::uint32_t kHitsPerMove = 256;                      // of a thread, where only ticks are noted
  [[nodiscard]] bool note_use(Entry& entry, Epochs::Section& section) {   // in a section; true as Section::note()
    if (!published_.lazy.load(std::memory_order_relaxed)) return section.note({&entry});
    entry.set_last_use(published_.ticks.load(std::memory_order_relaxed));
    if (section.hits() % kHitsPerMove == 0) published_.ticks.fetch_add(kHitsPerMove, std::memory_order_relaxed);
    return false;
  }

  // forget.cc: out of the index.
  using Counter = std::uint64_t ShardCounts::*;
  void unindex(Shard& shard, Entry& entry, Counter counter, Garbage& garbage);
  [[nodiscard]] bool take_out(Entry& victim, Garbage& garbage);
  void sweep(const Garbage& garbage, Spare spare = Spare::kNo);
  template <class Forget>
  std::uint64_t forget_in_slices(const Forget& forget);
  template <class Doomed>
  std::uint64_t forget_where(const Doomed& doomed);   // and their descendants
  [[nodiscard]] bool is_being_forgotten(const Entry& parent) const;
  [[nodiscard]] bool is_expired(const Entry& entry) const { return entry.has(kExpires) && entry.lifetime.over(clock_()); }
  void expire(const Key& key);
  [[nodiscard]] PutStatus rejected(PutStatus status);

  const Clock clock_;
  const Admission admission_;
  Budget budget_;
  PolicyAccount policy_account_{budget_};   // before the policy, which gives back to it at last
  BufferPool pool_{budget_};
  SpareBlocks spares_{budget_};
  Index index_;
  mutable Epochs epochs_;

  alignas(64) SpinMutex policy_mutex_;
  const std::unique_ptr<policy::Retention> policy_;   // guarded by policy_mutex_
  std::size_t linked_ = 0;                            // guarded by policy_mutex_: entries in the policy's hands
  std::uint32_t unpublished_ticks_ = 0;               // guarded by policy_mutex_: that readers are not shown yet
  std::atomic<std::size_t> evicting_{0};              // entries popped, whose memory is not back yet; raised under policy_mutex_

  std::mutex forgetting_mutex_;
  std::atomic<bool> forgetting_{false};   // a walk is going on: what is marked takes no more children, nor does what is behind it

  std::atomic<std::uint32_t> trims_{0};   // asked for since one thread began, who does them all

  // For readers: the clock of uses, and whether it is enough to note its tick in what is used, so that the policy need not be told.
  struct alignas(64) {
    std::atomic<std::uint32_t> ticks{0};
    std::atomic<bool> lazy{false};   // written under policy_mutex_
  } published_;

  std::atomic<std::int64_t> blocks_{1};   // of memory with an entry; and one more until this is closed
  std::atomic<std::uint64_t> rejected_puts_{0};
};

}   // namespace tensorcache::memory
