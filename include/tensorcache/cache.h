// The cache: immutable byte values under content-addressed keys, within a hard byte budget.
//
//   tensorcache::Cache cache({.capacity_bytes = 1 << 30, .policy = "lru"});
//   tensorcache::Handle hit = cache.get_or_compute(key, [&] { return encode(image); });
//   use(hit.bytes());   // zero copy, pinned until `hit` goes
//
// Threads: every member may be called from any thread at any time.
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
#include <vector>

#include "tensorcache/key.h"

namespace tensorcache {

namespace detail {
struct Entry;
class MemoryTier;
}   // namespace detail

// What a value is. Stored in formats later: add, never renumber.
enum class Kind : std::uint8_t { kOther = 0, kAnswer = 1, kPrefixBlock = 2, kTensor = 3 };
inline constexpr std::size_t kKindCount = 4;
[[nodiscard]] std::string_view kind_name(Kind kind);

struct CacheOptions {
  // Everything the cache allocates counts: values, entries, index, and values that are being written.
  std::uint64_t capacity_bytes = std::uint64_t{1} << 30;
  // Which value goes first when the budget is full: "lru" or "fifo".
  std::string policy = "lru";
  // Now, for tests. Steady, not wall time.
  std::function<std::chrono::steady_clock::time_point()> clock = std::chrono::steady_clock::now;
};

struct PutOptions {
  Kind kind = Kind::kOther;
  // Groups entries for `clear(owner)`, `list` and `stats(owner)`; for example a tenant. It is not part of the key:
  // whoever must not see another's entries puts the owner into the key as well.
  std::uint64_t owner = 0;
  // Chains this value behind another (the block before it in a prefix). The parent must be stored when this is committed, and is never
  // evicted before its children, drafts included.
  std::optional<Key> parent = std::nullopt;
  // Not served after this long since it was stored; 0 is for ever. When it is met expired, it goes, and all that is chained behind it.
  std::chrono::milliseconds time_to_live{0};
};

enum class PutStatus : std::uint8_t {
  kStored,
  kAlreadyStored,   // somebody was faster; values are immutable, so this one is dropped
  kTooLarge,        // larger than the whole budget
  kNoSpace,         // everything that could go is pinned or is being written
  kParentMissing,   // `parent` is not stored (any more)
};
[[nodiscard]] std::string_view put_status_name(PutStatus status);

// A pinned, read-only view of a stored value: never evicted, moved or freed while a handle holds it, not even by
// remove(), clear() or the cache's own destruction. Move-only; empty after a miss. Cheap (a few atomic operations).
class Handle {
 public:
  Handle() = default;
  Handle(Handle&& other) noexcept;
  Handle& operator=(Handle&& other) noexcept;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle();

  [[nodiscard]] explicit operator bool() const { return entry_ != nullptr; }
  // The value. 64-byte aligned. Empty for an empty handle.
  [[nodiscard]] std::span<const std::byte> bytes() const;
  [[nodiscard]] std::string_view text() const;   // the same bytes as characters
  // Since it was stored.
  [[nodiscard]] std::chrono::milliseconds age() const;
  void reset();

 private:
  friend class Cache;
  friend class detail::MemoryTier;
  Handle(std::shared_ptr<detail::MemoryTier> tier, detail::Entry* entry);
  std::shared_ptr<detail::MemoryTier> tier_;
  detail::Entry* entry_ = nullptr;
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
  std::shared_ptr<detail::MemoryTier> tier_;
  detail::Entry* entry_ = nullptr;
  PutStatus status_ = PutStatus::kNoSpace;
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
  std::uint64_t hits = 0, misses = 0;                           // values asked for; match() counts every key of its chain
  std::uint64_t puts = 0;                                       // kStored
  std::uint64_t rejected_puts = 0;                              // kTooLarge, kNoSpace, kParentMissing
  std::uint64_t evictions = 0, expirations = 0, removals = 0;   // values that went; remove() and clear() are removals
  KindStats kinds[kKindCount];
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
  // Throws std::invalid_argument for an unknown policy or an empty clock.
  explicit Cache(CacheOptions options);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // Copies `value` in.
  [[nodiscard]] PutStatus put(const Key& key, std::span<const std::byte> value, const PutOptions& options = {});
  [[nodiscard]] PutStatus put(const Key& key, std::string_view value, const PutOptions& options = {});

  // put() without the copy: allocate, write, insert. The space is charged, evicting others if it must, before it is allocated.
  // `options.parent`, if it is stored already, is held from here on; otherwise it must be by the time of the commit.
  [[nodiscard]] Draft reserve(const Key& key, std::size_t value_bytes, const PutOptions& options = {});
  PutStatus commit(Draft draft);

  // The value pinned, or an empty handle. Counts as a use for the policy.
  [[nodiscard]] Handle get(const Key& key);

  // The longest leading run of `chain` that is stored, each block pinned, in the order of the chain. One touch for the whole run, from
  // its last block to its first, so that a parent is always fresher than its children.
  [[nodiscard]] std::vector<Handle> match(std::span<const Key> chain);

  // The length of that run, without pinning, touching or counting it.
  [[nodiscard]] std::size_t peek(std::span<const Key> chain) const;
  [[nodiscard]] bool contains(const Key& key) const;

  // Forgets a value, and all that is chained behind it (which costs a walk over the whole index if there is any). True if it was stored.
  bool remove(const Key& key);
  // Forgets everything (of one owner). Returns how many entries went. Pinned bytes stay charged until their handles go.
  std::uint64_t clear();
  std::uint64_t clear(std::uint64_t owner);

  // The stored value, or `compute`'s, which is then stored. However many threads ask, one computes; the others wait for it. If it throws,
  // that caller gets the exception, nothing is stored, and one of those waiting computes in its place.
  // A value that cannot be stored is returned all the same (pinned, outside the cache and its budget), to those waiting too.
  // `compute` may use the cache, but must not ask for its own key here: it would wait for itself.
  using Compute = std::function<std::vector<std::byte>()>;
  [[nodiscard]] Handle get_or_compute(const Key& key, const Compute& compute, const PutOptions& options = {});

  // Takes effect at once, down as well as up: evicts until it fits. What is pinned goes when it is let go.
  void resize(std::uint64_t capacity_bytes);

  [[nodiscard]] Stats stats() const;
  [[nodiscard]] Stats stats(std::uint64_t owner) const;   // entries and bytes of one owner; a walk over the index
  // Up to `limit` entries of `owner` (or of all), most recently used first. A walk over the index.
  [[nodiscard]] std::vector<EntryInfo> list(std::optional<std::uint64_t> owner, std::size_t limit) const;

 private:
  struct Flights;
  std::shared_ptr<detail::MemoryTier> tier_;
  std::unique_ptr<Flights> flights_;
};

}   // namespace tensorcache
