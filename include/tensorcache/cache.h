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

#include "tensorcache/hints.h"
#include "tensorcache/key.h"

namespace tensorcache {

namespace detail {
struct Entry;
class MemoryTier;
}   // namespace detail
namespace disk {
class DiskTier;
class FileSystem;
}   // namespace disk

// What a value is. Stored in formats later: add, never renumber.
enum class Kind : std::uint8_t { kOther = 0, kAnswer = 1, kPrefixBlock = 2, kTensor = 3 };
inline constexpr std::size_t kKindCount = 4;
[[nodiscard]] std::string_view kind_name(Kind kind);

// What a power cut may take. A process that dies, however it dies, loses only what still waited to be written.
enum class DiskSync : std::uint8_t {
  kNone,      // as much as the system has not written out by itself: half a minute's worth, usually
  kSegment,   // at most the segment that is being filled
  kRecord,    // nothing that flush() has said true to
};

// Values on disk as well, under the memory: written behind, read back on a miss, still there at the next start.
struct DiskOptions {
  std::string directory;                                    // the cache's own; one process at a time
  std::uint64_t capacity_bytes = std::uint64_t{20} << 30;   // all files together, hard
  DiskSync sync = DiskSync::kSegment;
  // Values that wait to be written, in memory that they share with their readers; further ones are not written. 0: an eighth of the
  // memory, 256 MiB at most.
  std::uint64_t queue_bytes = 0;
  std::uint64_t segment_bytes = 0;                    // of a file, roughly; 0: suits the capacity, 64 MiB or more
  std::function<void(const std::string&)> on_event;   // a sentence for a log when the disk fails or works again; any thread
  std::shared_ptr<disk::FileSystem> file_system;      // null: the real one. For tests
  std::function<std::int64_t()> unix_ms;              // wall time now; empty: the system\'s. For tests
};

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

struct PutOptions {
  Kind kind = Kind::kOther;
  // Groups entries for `clear(owner)`, `list` and `stats(owner)`; for example a tenant. It is not part of the key:
  // whoever must not see another's entries puts the owner into the key as well.
  std::uint64_t owner = 0;
  // What it came from, for example a model, for lists of what is on disk; likewise no part of the key.
  std::uint32_t source = 0;
  // Chains this value behind another (the block before it in a prefix). The parent must be stored when this is committed, and is never
  // evicted before its children, drafts included.
  std::optional<Key> parent = std::nullopt;
  // What computing it again would take; "gdsf" keeps what saves most seconds for its bytes.
  float cost_seconds = 1;
  // Not served after this long since it was stored, nor after its parent expired; 0: never expires. An expired value is removed when a lookup
  // or a put meets it. Its descendants have expired too; each is removed when it is met, or evicted.
  std::chrono::milliseconds time_to_live{0};
  Hints hints = {};
  // Takes the place of what is stored under the key, unless something is chained behind that, in memory or on disk (a removed value that is
  // still pinned, or waits to be written, counts): at once, so that no lookup finds neither. Until then the older one stays, and is given up before
  // only where there is no other room.
  bool replaces = false;
};

// What to delete: all that is given must match. Nothing given: everything.
struct Selection {
  std::optional<std::uint64_t> owner = std::nullopt;                    // PutOptions::owner
  std::optional<std::uint32_t> source = std::nullopt;                   // PutOptions::source: what came from one model
  std::optional<std::chrono::milliseconds> older_than = std::nullopt;   // stored at least so long ago, by the wall clock for what is on disk
};

// Where to look: in memory and, where there is a disk tier, on disk as well, which waits for the disk; or only where it costs no wait.
enum class Look : std::uint8_t { kEverywhere, kMemory };

enum class PutStatus : std::uint8_t {
  kStored,
  kAlreadyStored,   // somebody was faster; values are immutable, so this one is dropped
  kTooLarge,        // larger than the whole budget
  kNoSpace,         // everything that could go is pinned, is being written or, to the policy, is worth more
  kParentMissing,   // `parent` is not stored (any more)
};
[[nodiscard]] std::string_view put_status_name(PutStatus status);

// A pinned, read-only view of a stored value: never evicted, moved or freed while a handle holds it, not even by
// remove(), clear() or the cache's own destruction. Move-only; empty after a miss. Cheap (a few atomic operations).
class Handle {
 public:
  Handle() = default;
  Handle(Handle&& other) noexcept : tier_(other.tier_), entry_(std::exchange(other.entry_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      reset();
      tier_ = other.tier_;
      entry_ = std::exchange(other.entry_, nullptr);
    }
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }

  [[nodiscard]] explicit operator bool() const { return entry_ != nullptr; }
  // The value. 64-byte aligned. Empty for an empty handle.
  [[nodiscard]] std::span<const std::byte> bytes() const;
  [[nodiscard]] std::string_view text() const;   // the same bytes as characters
  // Since it was stored.
  [[nodiscard]] std::chrono::milliseconds age() const;
  void reset() {
    if (entry_ != nullptr) let_go();
  }

 private:
  friend class Cache;
  friend class detail::MemoryTier;
  void let_go();
  Handle(detail::MemoryTier* tier, detail::Entry* entry) : tier_(tier), entry_(entry) {}
  detail::MemoryTier* tier_ = nullptr;   // lives as long as any of its values does
  detail::Entry* entry_ = nullptr;
};

// What a lookup found.
struct Lookup {
  Handle value;
  // The value is on disk and could not be brought into memory: everything there is pinned, reading failed, or the directory is still being
  // read after the start. Nothing is known of it then; in particular not that nothing is stored.
  bool unavailable = false;
};

// A leading run of a chain, pinned as a Handle pins one value: its last block is, and what a block is chained behind never goes before it.
class Run {
 public:
  Run() = default;
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  // The blocks in the order of the chain, as long as this lives. 64-byte aligned. Cost: a cache miss or two for each.
  [[nodiscard]] std::vector<std::span<const std::byte>> blocks() const;

 private:
  friend class detail::MemoryTier;
  Run(Handle last, std::size_t size) : last_(std::move(last)), size_(size) {}
  Handle last_;
  std::size_t size_ = 0;
};

// Space for a value that is being written, already charged to the budget and not yet visible. Write into bytes(), then
// Cache::commit. Dropping it gives the space back.
class Draft {
 public:
  Draft() = default;
  Draft(Draft&& other) noexcept;
  Draft& operator=(Draft&& other) noexcept;
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft();

  [[nodiscard]] explicit operator bool() const { return entry_ != nullptr; }
  // Writable, 64-byte aligned, not zeroed.
  [[nodiscard]] std::span<std::byte> bytes() const;
  // Why there is no space, where the draft is empty.
  [[nodiscard]] PutStatus status() const { return status_; }

 private:
  friend class Cache;
  friend class detail::MemoryTier;
  detail::MemoryTier* tier_ = nullptr;
  detail::Entry* entry_ = nullptr;
  PutStatus status_ = PutStatus::kNoSpace;
  std::optional<Key> parent_;
  Hints hints_;
  bool replaces_ = false;
};

struct KindStats {
  std::uint64_t entries = 0;
  std::uint64_t value_bytes = 0;     // what callers stored
  std::uint64_t charged_bytes = 0;   // what that takes of the budget
};

struct Stats {
  std::uint64_t capacity_bytes = 0;
  // What is charged now. Includes buffers of large values that were freed and are kept for the next ones: up to a sixteenth of the
  // capacity (or one buffer), given up as soon as anything else needs the room, and at clear(). Never above capacity_bytes, except
  // while a resize below what is pinned is pending.
  std::uint64_t used_bytes = 0;
  std::uint64_t peak_bytes = 0;
  // Values asked for; match() counts every key of its chain. One that has to be read from disk is a miss here, and a hit in DiskStats.
  std::uint64_t hits = 0, misses = 0;
  std::uint64_t puts = 0;                                       // kStored
  std::uint64_t rejected_puts = 0;                              // kTooLarge, kNoSpace, kParentMissing
  std::uint64_t evictions = 0, expirations = 0, removals = 0;   // values that went; remove() and clear() are removals
  KindStats kinds[kKindCount];
  // Of used_bytes, what is no value's: what the policy remembers, tables of the index, and memory that is kept for the next values.
  std::uint64_t policy_bytes = 0, table_bytes = 0, idle_bytes = 0;
};

struct DiskStats {
  std::string directory;                              // empty: there is no disk tier
  std::uint64_t capacity_bytes = 0, used_bytes = 0;   // of all files
  std::uint64_t entries = 0, value_bytes = 0, segments = 0;
  std::uint64_t index_bytes = 0;   // memory of its index, which counts in Stats::used_bytes
  std::uint64_t queued_bytes = 0;
  bool ready = false;                // what the directory held at start is visible
  std::int64_t newest_unix_ms = 0;   // of that: when the last was stored or removed, by the wall clock of then
  bool degraded = false;             // nothing can be written now
  std::string reason;                // why it is
  std::uint64_t hits = 0, read_bytes = 0;
  std::uint64_t skipped_loads = 0, late_loads = 0;   // computing was faster; loading took longer than it was given
  std::uint64_t puts = 0, accepted_bytes = 0, written_bytes = 0;
  std::uint64_t dropped_puts = 0, too_large_puts = 0;   // the disk was slower than the work, or did not work; larger than a segment
  std::uint64_t index_full = 0;                         // no memory for one more entry
  std::uint64_t evictions = 0, expirations = 0, written_again = 0, written_again_bytes = 0;
  std::uint64_t corrupt_records = 0, lost_bytes = 0, damaged_segments = 0, unknown_segments = 0;
  std::uint64_t read_errors = 0, write_errors = 0;
  std::uint64_t queued_removals = 0;       // wait to be logged; bounded, see collapsed_logs
  std::uint64_t pending_wipes = 0;         // deletions by clear() whose bytes are not all overwritten yet; flush() waits for them
  std::uint64_t collapsed_logs = 0;        // times that too many removals waited, so that the whole log was dropped instead
  std::uint64_t unlisted_records = 0;      // values in the log that have no entry; while there are any, each removal is logged
  std::uint64_t sidecar_bytes = 0;         // of the files beside the segments; part of used_bytes
  std::uint64_t open_files = 0;            // segments that are open; others are opened when they are read
  std::uint64_t unavailable_lookups = 0;   // of values that are stored and could not be read, see Lookup
  std::uint64_t dropped_names = 0;         // of owners and sources, of which 65,536 each are kept
};

struct EntryInfo {
  Key key;
  Kind kind = Kind::kOther;
  std::uint64_t owner = 0;
  std::uint64_t value_bytes = 0;
  std::uint64_t hits = 0;
  std::chrono::milliseconds age{0};
  bool chained = false;   // has a parent
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
  [[nodiscard]] Draft reserve(const Key& key, std::size_t value_bytes, const PutOptions& options = {});
  PutStatus commit(Draft draft);

  // The value pinned, or an empty handle. Counts as a use for the policy. What is found on disk is in memory from then on, and what it is
  // chained behind too. A value that is stored is found whatever other threads do to other keys; see Lookup for what may keep it away.
  [[nodiscard]] Handle get(const Key& key, Look look = Look::kEverywhere);
  // The same; tells a value that is not stored from one that is and could not be read now.
  [[nodiscard]] Lookup look_up(const Key& key, Look look = Look::kEverywhere);

  // The longest leading run of `chain` that is stored, each value behind the one before it (PutOptions::parent). A key must tell all that
  // came before it, as the hash of a prefix does: then only some of the keys are looked up, about 2 log2 of the run's length.
  // One touch for the whole run, from its last block to its first, so that a parent is always fresher than its children.
  // `of`: how long the chain is that `chain` is the beginning of, for the policy and the counters; 0: as long as that.
  [[nodiscard]] Run match(std::span<const Key> chain, Look look = Look::kEverywhere, std::size_t of = 0);

  // Says that a chain will not be used again soon, as at the end of a conversation: of its end, what nothing else is chained behind goes
  // next when room is needed. In memory only.
  void demote(std::span<const Key> chain);

  // Says what is known of the future of the leading run of `chain` that is in memory. A priority below the usual one is for what nothing
  // else is chained behind, as in demote(). Half of the budget at most is kept or has a high priority; what goes beyond is not followed.
  void advise(std::span<const Key> chain, const Hints& hints);

  // The length of the run that match() would find, without reading, pinning, touching or counting it. Does not wait for a disk.
  [[nodiscard]] std::size_t peek(std::span<const Key> chain, Look look = Look::kEverywhere) const;
  [[nodiscard]] bool contains(const Key& key, Look look = Look::kEverywhere) const;

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
  [[nodiscard]] Lookup look_up(const Key& key, Look look, bool counts);
  PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned);
  PutStatus commit(Draft draft, Handle* pinned);
  std::shared_ptr<detail::MemoryTier> tier_;
  std::unique_ptr<Lower> lower_;     // the disk tier; null: none
  bool nothing_comes_back_ = true;   // close()
  std::unique_ptr<Flights> flights_;
};

}   // namespace tensorcache
