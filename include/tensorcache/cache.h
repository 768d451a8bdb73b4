// Cache: immutable byte values under content-addressed keys, within a hard memory budget, with an
// optional disk tier below.
//
// Cache::put() keeps the stored value (unless PutOptions::replaces); TensorCache::add() replaces
// it. Cache::peek() and contains() read, pin and count nothing; TensorCache::peek() reads, pins,
// and counts a use.
//
//   tensorcache::Cache cache({.capacity_bytes = 1 << 30, .policy = "lru"});
//   tensorcache::Handle hit = cache.get_or_compute(key, [&] { return encode(image); });
//   use(hit.bytes());   // zero copy, pinned until `hit` is destroyed
//
// THREADS: every member except close() may be called from any thread at any time.
// ERRORS: a miss is an empty Handle, a write returns a PutStatus. These paths throw std::bad_alloc
// and exceptions of a caller's function only. An invalid option throws std::invalid_argument that
// names it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensorcache/handle.h"
#include "tensorcache/key.h"
#include "tensorcache/types.h"

namespace tensorcache {

namespace cache {
class TierStack;
}   // namespace cache
namespace disk {
class DiskTier;
}   // namespace disk
namespace memory {
class MemoryTier;
}   // namespace memory

struct CacheOptions {
  // Memory budget, a hard limit on all allocations: values, entries, index, reservations. Resident
  // memory is larger with small values (up to 1.3 times with some hundred bytes each), because
  // malloc fragments.
  std::uint64_t capacity_bytes = std::uint64_t{1} << 30;
  // Eviction policy: "lru", "gdsf" or another one listed by `tensorcache policies`.
  std::string policy = "lru";
  // The current time, for tests. Steady, not wall time.
  // REQUIRES: it does not throw, block or use the cache; it is called with locks held.
  std::function<std::chrono::steady_clock::time_point()> clock = std::chrono::steady_clock::now;
  // The disk tier; none: memory only.
  std::optional<DiskOptions> disk = std::nullopt;
};

class Cache {
 public:
  // Throws std::invalid_argument for an unknown policy, an empty clock or too small a disk
  // capacity, std::runtime_error for a directory that cannot be used or is in use by another
  // process.
  explicit Cache(CacheOptions options);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // Stores a copy of `value`. RETURNS kAlreadyStored if a value is stored under the key.
  [[nodiscard]] PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options = {});
  [[nodiscard]] PutStatus put(const Key& key, std::string_view value, const PutOptions& options = {});

  // put() without the copy: reserve, write into the reservation, commit. The space is charged
  // before it is allocated; entries are evicted if necessary.
  // REQUIRES: `options.parent` is in memory at the commit; if it is there already, it is pinned
  // from here on. Neither call waits for the disk: unlike put() and get_or_compute(), they do not
  // load a parent that is on disk only.
  // REQUIRES: if the value is on disk already, the new value is equal to it.
  [[nodiscard]] Reservation reserve(const Key& key, std::size_t value_bytes, const PutOptions& options = {});
  PutStatus commit(Reservation reservation);

  // RETURNS the pinned value, or an empty handle. Counts as a use for the policy. A value found on
  // disk is promoted into memory, with the values that it is chained behind. A stored value is
  // found regardless of what other threads do to other keys; see Lookup for the exceptions.
  [[nodiscard]] Handle get(const Key& key, Tiers tiers = Tiers::kAll);
  // The same; distinguishes a value that is not stored from a stored one that cannot be read now.
  [[nodiscard]] Lookup look_up(const Key& key, Tiers tiers = Tiers::kAll);

  // RETURNS the longest leading run of `chain` that is stored, each value behind the one before it
  // (PutOptions::parent).
  // REQUIRES: a key depends on all keys before it, as the hash of a prefix does. Then only about
  // 2 log2(length) keys are looked up.
  // The run is touched once, from its last block to its first, so that a parent is always more
  // recently used than its children. `of`: length of the whole chain that `chain` is the beginning
  // of, for the policy and the counters; 0: the length of `chain`.
  [[nodiscard]] PrefixMatch match(std::span<const Key> chain, Tiers tiers = Tiers::kAll, std::size_t of = 0);

  // get() in memory only that counts no miss, for a caller that asks the lower tiers next.
  [[nodiscard]] Handle find(const Key& key);

  // match() in two steps, in memory only, for a caller that prepares work before it begins.
  // pin() finds and pins the run, counts nothing and does not touch it. COST: one lookup.
  [[nodiscard]] PrefixMatch pin(std::span<const Key> chain);
  // Extends a run by the first of `keys` that is stored right behind it. RETURNS its position in
  // `keys`; nothing, and leaves the run unchanged, if none is stored. COST: one lookup.
  [[nodiscard]] std::optional<std::size_t> pin_next(PrefixMatch& run, std::span<const Key> keys);
  // Counts a pinned run and touches it, as match() does, with `of` as there. An empty run counts
  // misses.
  void use(const PrefixMatch& run, std::size_t of = 0);

  // RETURNS true if there is a tier below memory: peek() and load() may then find more than pin().
  [[nodiscard]] bool has_lower_tiers() const;

  // Hints that a chain will not be used again soon, as at the end of a conversation: the blocks at
  // its end that no other chain shares are evicted next. In memory only.
  void demote(std::span<const Key> chain);

  // Sets hints for the leading run of `chain` that is in memory. A priority below the default
  // applies to the blocks that no other chain shares, as in demote(). At most half of the budget is
  // soft-pinned or has a high priority; hints beyond that are ignored.
  void advise(std::span<const Key> chain, const Hints& hints);

  // RETURNS the length of the run that match() would find, without reading, pinning, touching or
  // counting it. Does not wait for a disk.
  [[nodiscard]] std::size_t peek(std::span<const Key> chain, Tiers tiers = Tiers::kAll) const;
  [[nodiscard]] bool contains(const Key& key, Tiers tiers = Tiers::kAll) const;

  // Copies the first bytes of a value, as many as fit. RETURNS their number; nothing if the value
  // is not stored or cannot be read. For a value on disk only these bytes are read and no checksum
  // is verified: use them as a hint. Does not count as a use.
  [[nodiscard]] std::optional<std::size_t> head(const Key& key, std::span<std::byte> to) const;

  // Loads the stored leading run of `chain` from disk into memory asynchronously. `done` is called
  // once, on a thread of the cache, when the load is complete, failed, or exceeded `timeout` (it
  // may still complete later); its exceptions are dropped. Set `timeout` to the time that computing
  // the values would take: the load is skipped if it is estimated to take longer.
  // RETURNS false, without calling `done`, if there is nothing to load.
  bool load(std::vector<Key> chain, std::chrono::milliseconds timeout, std::function<void()> done);

  // Removes a value and its descendants (COST: a scan of the whole index if there are any). RETURNS
  // true if it was stored. Takes effect at once in this process; on disk once flush() returns true.
  bool remove(const Key& key);
  // Removes the selected entries and their descendants, in memory and on disk. RETURNS the number
  // of removed entries. Entries put meanwhile may be removed, too. Pinned bytes stay charged until
  // their handles are released. Trims malloc as resize() does.
  // Takes effect at once in this process. Once flush() returns true, no byte of these values is
  // left in the directory's files, nor of matching values that were replaced, removed or evicted
  // before: they are overwritten, which the next start completes if the process ends first.
  // THREADS: any; one call at a time, the next one waits. Other members wait for at most one slice
  // of the work, about 0.1 ms.
  // COST: a scan of the indexes, and with `older_than` a read of the summaries of segments that
  // hold older and younger values; then, on a thread of the cache, a read of all summaries and a
  // write over the deleted values. clear() of everything deletes the files instead.
  // Throws std::bad_alloc, and then changes nothing.
  std::uint64_t clear(const Selection& what);
  std::uint64_t clear();
  std::uint64_t clear(std::uint64_t owner);

  // RETURNS the stored value, or the result of `compute`, which is then stored. Single-flight: one
  // thread computes, the others wait. If `compute` throws, its caller gets the exception, nothing
  // is stored, and one of the waiting threads retries with its own `compute`.
  // A value that cannot be stored is returned to all callers (pinned, outside the cache and its
  // budget). `compute` may use the cache. A request for its own key throws std::logic_error. If
  // computations of several threads wait for each other's keys in a cycle, the last thread to join
  // the cycle computes instead of waiting.
  using Compute = std::function<std::vector<std::byte>()>;
  [[nodiscard]] Handle get_or_compute(const Key& key, const Compute& compute, const PutOptions& options = {});

  // Changes the memory budget at once, up or down, and evicts until the entries fit; pinned entries
  // are evicted when they are released. If 8 MiB or more were freed, calls malloc_trim(0), which
  // takes about 0.1 s per GiB of small values. Pages that evicted and remaining values share stay
  // in use.
  void resize(std::uint64_t capacity_bytes);
  // Changes the disk budget; the oldest segments are deleted asynchronously until the files fit. No
  // effect without a disk tier.
  void resize_disk(std::uint64_t capacity_bytes);

  // Waits until all puts and removals so far are on disk, as durable as DiskSync specifies. RETURNS
  // false on timeout, at once if the disk does not work now (what is still in memory is written when
  // it does), or if some puts were dropped (evicted before the disk got them), which is reported
  // once. RETURNS true without a disk tier.
  bool flush(std::chrono::milliseconds time);
  // Closes the disk tier: writes the queue, removals first, within `time`. The cache is memory only
  // afterwards. RETURNS true if no removed or replaced value can reappear at the next start, false
  // if the removals could not be persisted in time. The destructor calls it with five seconds. A
  // second call returns the result of the first.
  // REQUIRES: no other thread uses the cache.
  bool close(std::chrono::milliseconds time);
  // flush() without waiting: `done` is called on a thread of the cache, or at once; its exceptions
  // are dropped. REQUIRES: `done` does not wait for the cache's disk.
  void when_flushed(std::function<void(bool)> done);

  // Names an `owner` or a `source`, for `tensorcache inspect`. Control characters are dropped. No
  // effect without a disk tier.
  void name_owner(std::uint64_t owner, const std::string& name);
  void name_source(std::uint32_t source, const std::string& name);
  // RETURNS all sources with this name, of this and earlier processes. Empty without a disk tier.
  [[nodiscard]] std::vector<std::uint32_t> sources_named(const std::string& name) const;

  // Charges a file of the caller in DiskOptions::directory, of this present or next size, to the
  // disk budget.
  void account_file(const std::string& name, std::uint64_t bytes);

  // RETURNS the counters since the start and the present sizes. COST: no scan of the index.
  [[nodiscard]] Stats stats() const;
  [[nodiscard]] DiskStats disk_stats() const;
  [[nodiscard]] Stats stats(std::uint64_t owner) const;   // entries and bytes of one owner; COST: a scan of the index
  // RETURNS up to `limit` entries of `owner` (or of all), most recently used first. COST: a scan of
  // the index.
  [[nodiscard]] std::vector<EntryInfo> list(std::optional<std::uint64_t> owner, std::size_t limit) const;

 private:
  struct Flights;
  PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned);
  std::shared_ptr<memory::MemoryTier> tier_;
  std::unique_ptr<cache::TierStack> tiers_;   // the same, with the tiers below it
  disk::DiskTier* disk_ = nullptr;            // that of `tiers_`; null: none, or closed
  bool nothing_comes_back_ = true;            // what close() returned
  std::unique_ptr<Flights> flights_;
};

}   // namespace tensorcache
