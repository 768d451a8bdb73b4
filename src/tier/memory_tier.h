// Values in memory: an index, a policy, and a budget that is never passed.
//
// Locks, always taken in this order, each alone or with those after it:
//   a shard (or all, in their order)  what is stored      find, link, unlink; an entry gets its first reference here
//   policy                            what goes next
//   buffer pool                       idle buffers
// Allocating, evicting and dropping references happen with none of them held.
//
// An entry's life: filling (a Draft has it, nobody else sees it) → stored (in the index and in the policy's hands) → gone
// (out of both) → freed, once the last pin and the last entry chained behind it have let go. Only an entry without either
// is evicted. One that is the policy's choice but has some is "parked": out of the policy's hands until it has none.
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

#include "policy/policy.h"
#include "tensorcache/cache.h"
#include "tier/budget.h"
#include "tier/buffer_pool.h"
#include "tier/entry.h"
#include "tier/index.h"

namespace tensorcache::detail {

// Threads: all members from any thread. See cache.h for what each promises.
class MemoryTier : public std::enable_shared_from_this<MemoryTier> {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  MemoryTier(std::uint64_t capacity_bytes, std::unique_ptr<Policy> policy, Clock clock);
  ~MemoryTier();
  MemoryTier(const MemoryTier&) = delete;
  MemoryTier& operator=(const MemoryTier&) = delete;

  [[nodiscard]] Draft reserve(const Key& key, std::size_t value_bytes, const PutOptions& options);
  // With `pinned`, also hands out what is stored under the key then (kStored, kAlreadyStored).
  PutStatus commit(Draft draft, Handle* pinned = nullptr);
  // The same for a value that was stored elsewhere `age` ago and lives for `time_to_live` from then (0: for ever).
  PutStatus commit_aged(Draft draft, std::chrono::milliseconds age, std::chrono::milliseconds time_to_live);
  // Both in one, with a copy of `value`.
  PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned = nullptr);
  // A value of no key and outside the budget, for a caller who must get it although it does not fit.
  [[nodiscard]] Handle detached(std::span<const std::byte> value, const PutOptions& options);

  enum class Count : bool { kNo, kYes };
  [[nodiscard]] Handle get(const Key& key, Count count);
  [[nodiscard]] Handle share(const Handle& handle);
  [[nodiscard]] std::vector<Handle> match(std::span<const Key> chain);
  void demote(std::span<const Key> chain);
  [[nodiscard]] std::size_t peek(std::span<const Key> chain) const;
  [[nodiscard]] bool contains(const Key& key) const;

  bool remove(const Key& key);
  std::uint64_t clear(std::optional<std::uint64_t> owner);
  void resize(std::uint64_t capacity_bytes);

  [[nodiscard]] Stats stats() const;
  [[nodiscard]] Stats stats(std::uint64_t owner) const;
  [[nodiscard]] std::vector<EntryInfo> list(std::optional<std::uint64_t> owner, std::size_t limit) const;
  [[nodiscard]] std::chrono::steady_clock::time_point now() const { return clock_(); }

  // Bytes of the budget for what belongs to the cache and lies elsewhere; makes room. False: there is none.
  [[nodiscard]] bool charge(std::uint64_t bytes) { return make_room(bytes); }
  void give_back(std::uint64_t bytes) { budget_.give_back(bytes); }
  // A stored value's, as long as the handle holds it.
  [[nodiscard]] static const Entry& entry_of(const Handle& handle) { return *handle.entry_; }
  // Removed or evicted since the handle was made.
  [[nodiscard]] static bool is_gone(const Handle& handle) { return (handle.entry_->state.load() & kGone) != 0; }

  // For Handle and Draft: they let go.
  void unpin(Entry* entry);
  void discard(Entry* draft);

 private:
  // Whether it is to be stored: a block that is worth less than what would have to go for it is not.
  [[nodiscard]] bool announce(const Key& key, std::uint64_t charge_bytes, Kind kind, Entry* parent);
  [[nodiscard]] PutStatus publish(Draft draft, Handle* pinned, std::chrono::milliseconds age);
  struct Layout;
  struct KindCounters {
    std::atomic<std::uint64_t> entries{0}, value_bytes{0}, charged_bytes{0};
  };

  // space.cc: room in the budget.
  [[nodiscard]] Entry* allocate(const Layout& layout);   // null: no room. Throws std::bad_alloc
  [[nodiscard]] std::byte* obtain_buffer(std::size_t buffer_bytes);
  [[nodiscard]] bool make_room(std::uint64_t bytes);
  void make_table_room(Shard& shard);
  void free_memory(Entry* entry);
  bool evict_one();
  void trim();

  // references.cc: who holds an entry.
  [[nodiscard]] bool drop(Entry& entry, std::uint64_t unit);   // true: it is gone and this was the last reference
  void reclaim(Entry* entry);
  void unpark(Entry& entry);
  void touch_locked(Entry& entry);
  [[nodiscard]] Entry* hold_parent(const Key& key);
  [[nodiscard]] Handle pin(Entry& entry);

  // forget.cc: out of the index.
  enum class Only : std::uint8_t { kAll, kExpired };
  void unindex(Shard& shard, Entry& entry, Entry*& garbage);
  void sweep(Entry* garbage);
  std::uint64_t forget(const Key& key, Only only);
  template <class Doomed>
  std::uint64_t forget_where(const Doomed& doomed);
  [[nodiscard]] bool is_expired(const Entry& entry) const { return entry.time_to_live.count() != 0 && entry.expired(clock_()); }
  [[nodiscard]] PutStatus rejected(PutStatus status);

  const Clock clock_;
  Budget budget_;
  BufferPool pool_{budget_};
  Index index_;

  std::mutex policy_mutex_;
  const std::unique_ptr<Policy> policy_;   // guarded by policy_mutex_
  std::uint64_t ticks_ = 0;                // guarded by policy_mutex_
  int evicting_ = 0;                       // guarded by policy_mutex_: entries popped, whose memory is not back yet

  std::array<KindCounters, kKindCount> kinds_;
  std::atomic<std::uint64_t> puts_{0}, rejected_puts_{0}, evictions_{0}, expirations_{0}, removals_{0};
};

}   // namespace tensorcache::detail
