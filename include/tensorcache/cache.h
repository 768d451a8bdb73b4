// The cache: immutable byte values under content-addressed keys, within a hard byte budget.
//
//   tensorcache::Cache cache({.capacity_bytes = 1 << 30, .policy = "lru"});
//   tensorcache::Handle hit = cache.get_or_compute(key, [&] { return encode(image); });
//   use(hit.bytes());   // zero copy, pinned until `hit` goes
//
// Threads: every member but close() may be called from any thread at any time.
// Failure: a miss is an empty Handle and a write reports a PutStatus; nothing throws on these paths but
// std::bad_alloc and what a caller's own function throws. A wrong option throws std::invalid_argument that names it.
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

namespace memory {
class MemoryTier;
}   // namespace memory

struct CacheOptions {
  // Everything the cache allocates counts: values, entries, index, and values that are being written.
  // The process takes more where values are small, up to 1.3 times with some hundred bytes each: malloc leaves gaps.
  std::uint64_t capacity_bytes = std::uint64_t{1} << 30;
  // Which value goes first when the budget is full: "lru", "gdsf" or another of `tensorcache policies`.
  std::string policy = "lru";
  // Now, for tests. Steady, not wall time. Called with locks held: it must not throw, block or use the cache.
  std::function<std::chrono::steady_clock::time_point()> clock = std::chrono::steady_clock::now;
  // None: in memory only.
  std::optional<DiskOptions> disk = std::nullopt;
};

class Cache {
 public:
  // Throws std::invalid_argument for an unknown policy, an empty clock or too small a disk capacity, std::runtime_error for a directory
  // that cannot be used or that another process uses.
  explicit Cache(CacheOptions options);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // Copies `value` in.
  [[nodiscard]] PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options = {});
  [[nodiscard]] PutStatus put(const Key& key, std::string_view value, const PutOptions& options = {});

  // put() without the copy: allocate, write, insert. The space is charged, evicting others if it must, before it is allocated.
  // `options.parent`, if it is in memory already, is held from here on; otherwise it must be by the time of the commit. Neither call waits for
  // the disk: put() and get_or_compute() bring up a parent that is on disk only, these do not.
  // A value that is on disk only is put into memory all the same: it must be the one that is there.
  [[nodiscard]] Reservation reserve(const Key& key, std::size_t value_bytes, const PutOptions& options = {});
  PutStatus commit(Reservation draft);

  // The value pinned, or an empty handle. Counts as a use for the policy. What is found on disk is in memory from then on, and what it is
  // chained behind too. A value that is stored is found whatever other threads do to other keys; see Lookup for what may keep it away.
  [[nodiscard]] Handle get(const Key& key, Tiers tiers = Tiers::kAll);
  // The same; tells a value that is not stored from one that is and could not be read now.
  [[nodiscard]] Lookup look_up(const Key& key, Tiers tiers = Tiers::kAll);

  // The longest leading run of `chain` that is stored, each value behind the one before it (PutOptions::parent). A key must tell all that
  // came before it, as the hash of a prefix does: then only some of the keys are looked up, about 2 log2 of the run's length.
  // One touch for the whole run, from its last block to its first, so that a parent is always fresher than its children.
  // `of`: how long the chain is that `chain` is the beginning of, for the policy and the counters; 0: as long as that.
  [[nodiscard]] PrefixMatch match(std::span<const Key> chain, Tiers tiers = Tiers::kAll, std::size_t of = 0);

  // get() of what is in memory that counts no miss: for a caller that asks the tiers below next.
  [[nodiscard]] Handle find(const Key& key);

  // match() in two halves, in memory only, for a caller that prepares work before it begins.
  // pin() finds and pins the run; it counts nothing and tells the policy nothing. Cost: one look-up.
  [[nodiscard]] PrefixMatch pin(std::span<const Key> chain);
  // Extends a run by the first of `keys` that is stored right behind it.
  // RETURNS its place in `keys`; nothing, and an unchanged run, if none is stored. Cost: one look-up.
  [[nodiscard]] std::optional<std::size_t> pin_next(PrefixMatch& run, std::span<const Key> keys);
  // Counts a pinned run and touches it, as match() does. `of` as there; an empty run counts misses.
  void use(const PrefixMatch& run, std::size_t of = 0);

  // True if there is a tier below the memory, as a disk: then peek() and load() may find more than pin().
  [[nodiscard]] bool has_lower_tiers() const;

  // Says that a chain will not be used again soon, as at the end of a conversation: of its end, what nothing else is chained behind goes
  // next when room is needed. In memory only.
  void demote(std::span<const Key> chain);

  // Says what is known of the future of the leading run of `chain` that is in memory. A priority below the usual one is for what nothing
  // else is chained behind, as in demote(). Half of the budget at most is kept or has a high priority; what goes beyond is not followed.
  void advise(std::span<const Key> chain, const Hints& hints);

  // The length of the run that match() would find, without reading, pinning, touching or counting it. Does not wait for a disk.
  [[nodiscard]] std::size_t peek(std::span<const Key> chain, Tiers tiers = Tiers::kAll) const;
  [[nodiscard]] bool contains(const Key& key, Tiers tiers = Tiers::kAll) const;

  // Copies the first bytes of a value, as many as fit, and returns how many those are. Of a value that is on disk only it reads no more than
  // these: their checksum covers the whole value and is not verified, so use them as a hint. Counts as no use. Nothing: not stored, or it
  // cannot be read.
  [[nodiscard]] std::optional<std::size_t> head(const Key& key, std::span<std::byte> to) const;

  // Brings the leading run of `chain` that is stored from disk into memory, without waiting: `done` is called once, on a thread of the
  // cache's, when it is there, could not be brought, or `patience` is over (it may still come); what it throws is dropped. For `patience` take the
  // time that doing without would cost: loading is not even begun if it would take longer. False, and no call: there is nothing to wait for.
  bool load(std::vector<Key> chain, std::chrono::milliseconds patience, std::function<void()> done);

  // Forgets a value, and all that is chained behind it (which costs a walk over the whole index if there is any). True if it was stored.
  // At once in this process; on disk when flush() says so.
  bool remove(const Key& key);
  // Forgets what is selected, and all that is chained behind it, in memory and on disk. Returns how many entries went. What is put meanwhile
  // may go, too. Pinned bytes stay charged until their handles go. Trims malloc as resize().
  // At once in this process. When flush() says true, no byte of these values is left in the directory's files, nor of earlier ones that match
  // and were replaced, removed or evicted before: they are overwritten, which goes on at the next start if this process ends first.
  // Threads: any; one at a time, the next one waits. Others' calls go on meanwhile, and wait for a slice of it at most, some 0.1 ms of work.
  // Cost: a walk over the indexes, and with `older_than` a read of the summaries of segments that hold older and younger values; then, on a
  // thread of the cache's, a read of all summaries and a write over what is deleted. clear() of everything deletes the files instead.
  // Throws std::bad_alloc, and then changes nothing.
  std::uint64_t clear(const Selection& what);
  std::uint64_t clear();
  std::uint64_t clear(std::uint64_t owner);

  // The stored value, or `compute`'s, which is then stored. However many threads ask, one computes; the others wait for it. If it throws,
  // that caller gets the exception, nothing is stored, and one of those waiting computes in its place.
  // A value that cannot be stored is returned all the same (pinned, outside the cache and its budget), to those waiting too.
  // `compute` may use the cache. Asking for its own key here is a std::logic_error. Where computations of several threads ask for each other's
  // keys in a circle, the last to ask computes instead of waiting.
  using Compute = std::function<std::vector<std::byte>()>;
  [[nodiscard]] Handle get_or_compute(const Key& key, const Compute& compute, const PutOptions& options = {});

  // Takes effect at once, down as well as up: evicts until it fits. What is pinned goes when it is let go. Where 8 MiB or more were freed it calls
  // malloc_trim(0), which takes some 0.1 s for each GiB of small values. Values evicted among others that stay may leave pages partly in use.
  void resize(std::uint64_t capacity_bytes);
  void resize_disk(std::uint64_t capacity_bytes);

  // Waits until everything put and removed so far is on disk and as durable as DiskSync promises. False: not within `time`, or some of
  // it was given up (the disk does not work, or was too slow), which is told once. True without a disk tier.
  bool flush(std::chrono::milliseconds time);
  // Ends the disk tier: writes what waits, removals first, for as long as `time` allows. From here on the cache is in memory only. True:
  // nothing that was removed or replaced can come back at the next start. False: the disk did not take that in time; some of it may.
  // The destructor does the same with five seconds. Not while other threads use the cache. A second call returns what the first one did.
  bool close(std::chrono::milliseconds time);
  // The same without waiting; `done` is called on a thread of the cache's, or at once. It must not wait for the cache's disk; what it throws is
  // dropped.
  void when_flushed(std::function<void(bool)> done);

  // What an `owner` or a `source` is called, for `tensorcache inspect`.
  void name_owner(std::uint64_t owner, const std::string& name);
  void name_source(std::uint32_t source, const std::string& name);
  // All that were called so, of this and earlier processes. Empty without a disk tier.
  [[nodiscard]] std::vector<std::uint32_t> sources_named(const std::string& name) const;

  // How large a file of the caller's own in DiskOptions::directory is, or is about to become: it counts in the disk's capacity.
  void account_file(const std::string& name, std::uint64_t bytes);

  [[nodiscard]] Stats stats() const;
  [[nodiscard]] DiskStats disk_stats() const;
  [[nodiscard]] Stats stats(std::uint64_t owner) const;   // entries and bytes of one owner; a walk over the index
  // Up to `limit` entries of `owner` (or of all), most recently used first. A walk over the index.
  [[nodiscard]] std::vector<EntryInfo> list(std::optional<std::uint64_t> owner, std::size_t limit) const;

 private:
  struct Flights;
  struct Lower;
  [[nodiscard]] Lookup look_up(const Key& key, Tiers tiers, bool counts);
  PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned);
  PutStatus commit(Reservation draft, Handle* pinned);
  std::shared_ptr<memory::MemoryTier> tier_;
  std::unique_ptr<Lower> lower_;     // the disk tier; null: none
  bool nothing_comes_back_ = true;   // close()
  std::unique_ptr<Flights> flights_;
};

}   // namespace tensorcache
