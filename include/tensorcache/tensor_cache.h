// TensorCache: a cache of tensors, bytes and text under tokens, text or bytes, for use in a
// program. It is built on Cache (cache.h) and has its budget, eviction policies and disk tier.
//
// TensorCache::add() replaces the stored value; Cache::put() keeps it. TensorCache::peek() counts
// neither a hit nor a miss, but a use for the policy, and may read the disk; Cache::peek() reads
// and counts nothing. contains() reads no value and counts nothing in both.
//
// Example:
//   tensorcache::TensorCache cache({.store = {.capacity_bytes = 1 << 26}});
//   const std::vector<std::int32_t> tokens = {101, 7592, 2088, 102};
//   const auto logits = cache.get_or_compute(tokens, [&] { return run_model(tokens); });
//   use(logits.tensor().elements<float>());   // zero copy, pinned by the copies of `logits`
//
//   using namespace std::chrono_literals;
//   (void)cache.add("weather", tensorcache::TensorView::text("rain"),
//                   {.time_to_live = 60s, .stale_for = 1h, .tags = {"forecast"}});
//   cache.invalidate("forecast");   // invalidates all entries with that tag, in O(1)
//
//   const tensorcache::Hit counter = cache.get("counter");   // compare-and-swap; 0: not stored
//   const auto one = tensorcache::TensorView::text("1");
//   if (!cache.put_if_version("counter", counter.version(), one)) retry();
//
// THREADS: every member except close() may be called from any thread at any time. Reads and writes
// of each key are linearizable: a read sees the last write that completed before it began, or one
// that overlaps it. Any unpinned entry may be evicted at any time. A value that is on disk only and
// cannot be read now is a miss with Hit::unavailable(); put_if_version() then returns kUnavailable.
// Values are never changed in place: the contents of a Hit do not change.
// ERRORS: a write that failed returns a WriteStatus. An invalid argument throws
// std::invalid_argument that names it. Exceptions of a caller's function pass through. A failing
// disk causes misses.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensorcache/attributes.h"
#include "tensorcache/cache.h"
#include "tensorcache/key.h"
#include "tensorcache/tensor.h"

namespace tensorcache {

namespace tensor {
struct StoredValue;
class Leases;
struct Shared;
}   // namespace tensor

// The key of an entry, made of tokens, bytes or text, which never collide with each other
// (docs/format-tensor.md). Conversions are implicit on purpose. COST: one SHA-256, about 300 ns
// plus 0.5 ns per byte.
class ItemKey {
 public:
  ItemKey(const Key& key) : key_(key) {}                                             // NOLINT: a key made by KeyBuilder, for example
  ItemKey(std::string_view text);                                                    // NOLINT
  ItemKey(const std::string& text) : ItemKey(std::string_view(text)) {}              // NOLINT
  ItemKey(const char* text) : ItemKey(std::string_view(text)) {}                     // NOLINT
  ItemKey(std::nullptr_t) = delete;                                                  // NOLINT
  ItemKey(std::span<const std::byte> bytes);                                         // NOLINT
  ItemKey(std::span<const std::int64_t> tokens);                                     // NOLINT: equal to the key of the same tokens in 32 bits
  ItemKey(std::span<const std::int32_t> tokens);                                     // NOLINT
  ItemKey(const std::vector<std::int32_t>& tokens) : ItemKey(std::span(tokens)) {}   // NOLINT
  ItemKey(const std::vector<std::int64_t>& tokens) : ItemKey(std::span(tokens)) {}   // NOLINT
  [[nodiscard]] const Key& key() const TENSORCACHE_LIFETIME_BOUND { return key_; }

 private:
  Key key_;
};

struct AddOptions {
  // The entry is fresh for `time_to_live`, then stale (Hit::stale) for `stale_for`, then expired.
  // 0: fresh for ever.
  std::chrono::milliseconds time_to_live{0};
  std::chrono::milliseconds stale_for{0};
  // Tags for invalidate(); at most 16.
  std::vector<std::string> tags = {};
  // Seconds that computing the value again would take, for policies that use it ("gdsf").
  float cost_seconds = 1;
  // A now() from before the value's computation began: the entry is invalid if one of its tags was
  // invalidated since. 0: as of this call. get_or_compute() sets it by itself.
  std::uint64_t as_of = 0;
};

struct ComputeOptions : AddOptions {
  // Negative caching: how long "there is nothing" (compute returned nothing) is stored. 0: it is
  // not stored and the next caller computes again.
  std::chrono::milliseconds negative_time_to_live{0};
};

enum class WriteStatus : std::uint8_t {
  kStored,
  kConflict,    // put_if_version: another version is stored (WriteResult::version)
  kLeaseLost,   // the lease expired
  kTooLarge,    // larger than the whole budget; the stored value is kept
  kNoSpace,     // every evictable entry is pinned; the stored value is kept
  // put_if_version: the stored value cannot be read now (Hit::unavailable), so its version is
  // unknown
  kUnavailable,
};
[[nodiscard]] std::string_view write_status_name(WriteStatus status);

struct WriteResult {
  WriteStatus status = WriteStatus::kStored;
  std::uint64_t version = 0;   // of the stored value: larger than all versions before it. 0: nothing is stored
  [[nodiscard]] explicit operator bool() const { return status == WriteStatus::kStored; }
};

// A stored value or negative entry ("there is nothing"), pinned and read-only. Empty after a miss.
// Copies share the pin. May outlive the cache. COST: a copy is one atomic operation.
class Hit {
 public:
  Hit() = default;
  explicit Hit(std::shared_ptr<const tensor::StoredValue> value) : value_(std::move(value)) {}

  // RETURNS whether there is a value. False after a miss and for a negative entry.
  [[nodiscard]] explicit operator bool() const { return parts() > 0; }
  // RETURNS true for a miss of a stored value that cannot be read now: all memory is pinned, or the
  // disk failed.
  [[nodiscard]] bool unavailable() const;
  // RETURNS true for a negative entry: there is no value, and no need to compute.
  [[nodiscard]] bool negative() const;
  // A value has one or more parts, each a tensor, bytes or text, e.g. the outputs of a model.
  // tensor() throws std::out_of_range for a part that does not exist.
  [[nodiscard]] std::size_t parts() const;
  [[nodiscard]] TensorView tensor(std::size_t part = 0) const TENSORCACHE_LIFETIME_BOUND;   // dense; its data 64-byte aligned
  // How the parts form a value, as defined by the writer; Python writes JSON
  // (docs/format-tensor.md). Empty for a plain value of one part.
  [[nodiscard]] std::string_view structure() const TENSORCACHE_LIFETIME_BOUND;
  [[nodiscard]] std::uint64_t version() const;           // 0: empty, or computed and not stored
  [[nodiscard]] bool stale() const;                      // past its time to live when read
  [[nodiscard]] std::chrono::milliseconds age() const;   // since it was stored

 private:
  std::shared_ptr<const tensor::StoredValue> value_;
};

// The exclusive, time-limited right to write one key. A write that began before the lease expired
// succeeds. Move-only; released on destruction. Empty if it was not acquired.
class Lease {
 public:
  Lease() = default;
  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) noexcept;
  ~Lease();
  // RETURNS false once it expired or was released.
  [[nodiscard]] explicit operator bool() const;
  // Ends the lease now; no effect if it is empty.
  void release();

 private:
  friend class TensorCache;
  Lease(std::shared_ptr<tensor::Leases> leases, const Key& key, std::uint64_t token);
  std::shared_ptr<tensor::Leases> leases_;
  Key key_;
  std::uint64_t token_ = 0;
};

struct TensorCacheOptions {
  CacheOptions store = {};   // budget, policy, clock, disk
  // Maximum number of entries, evicted in LRU order, in addition to the memory budget. 0: no such
  // limit. Entries from an earlier run on disk count from their first use on.
  // COST: about 140 bytes per entry, outside the memory budget.
  std::uint64_t capacity_entries = 0;
  // Caches with different names never see each other's entries, in memory and on disk. At most 200
  // bytes.
  std::string name = {};
};

struct TensorCacheStats {
  std::uint64_t hits = 0, stale_hits = 0, negative_hits = 0, misses = 0;   // stale and negative hits are hits too
  std::uint64_t waits = 0;   // lookups that received another caller's running computation: neither hits nor misses
  std::uint64_t writes = 0, rejected_writes = 0, conflicts = 0;
  std::uint64_t computations = 0, refreshes = 0, failed_computations = 0;   // refreshes are computations too
  std::uint64_t entry_limit_evictions = 0;
  Stats store;                           // of the whole store: all caches of a CacheManager
  DiskStats disk;                        // likewise
  std::uint64_t unavailable = 0;         // misses of stored values that could not be read
  std::uint64_t tags = 0;                // with a recorded invalidation, see invalidate()
  std::uint64_t waiting_refreshes = 0;   // 4,096 at most; beyond that a stale value is served without a refresh
  std::uint64_t dropped_refreshes = 0;   // because the queue was full
};

class TensorCache {
 public:
  // Throws what Cache's constructor throws. With a disk tier, returns when the stored entries are
  // visible.
  explicit TensorCache(const TensorCacheOptions& options);
  // Waits for a running refresh. REQUIRES: no other call is running.
  ~TensorCache();
  TensorCache(TensorCache&&) noexcept;
  TensorCache& operator=(TensorCache&&) noexcept;

  // Stores a copy and replaces the stored value. A concurrent reader sees the old or the new value,
  // never a miss.
  [[nodiscard]] WriteResult add(const ItemKey& key, const TensorView& value, const AddOptions& options = {});
  [[nodiscard]] WriteResult add(const ItemKey& key, std::span<const TensorView> parts, std::string_view structure, const AddOptions& options = {});
  // Compare-and-swap: stores only if `version` is the stored version; 0: only if nothing is stored.
  // A stale value counts as stored, an invalidated one does not. The write is urgent
  // (PutOptions::urgent): it waits up to a second while the disk's queue is full.
  [[nodiscard]] WriteResult put_if_version(const ItemKey& key, std::uint64_t version, const TensorView& value, const AddOptions& options = {});
  [[nodiscard]] WriteResult put_if_version(const ItemKey& key, std::uint64_t version, std::span<const TensorView> parts, std::string_view structure,
                                           const AddOptions& options = {});
  // Stores a negative entry ("there is nothing") for options.time_to_live.
  WriteResult add_negative(const ItemKey& key, const AddOptions& options);

  // RETURNS the value, fresh or stale, or an empty hit. A value found on disk only is read and
  // promoted into memory.
  [[nodiscard]] Hit get(const ItemKey& key);
  [[nodiscard]] Hit peek(const ItemKey& key);        // as get(); counts a use for the policy, but no hit or miss
  [[nodiscard]] Hit probe(const ItemKey& key);       // as get(); counts a hit but no miss, for callers with their own single-flight
  [[nodiscard]] bool contains(const ItemKey& key);   // a value, fresh or stale. Reads no value from disk, counts nothing
  bool remove(const ItemKey& key);                   // RETURNS true if an entry was removed
  std::uint64_t clear();                             // RETURNS the number of removed entries

  // RETURNS the stored value, or the result of `compute`, which is then stored. Single-flight: one
  // caller computes, the others wait for its result.
  // If `compute` throws, its caller gets the exception, nothing is stored, and one of the waiting
  // callers retries with its own `compute`.
  // A stale value is returned at once and refreshed by a thread of the cache. `compute` is copied
  // for that.
  // REQUIRES: everything it refers to lives as long as the cache. If the refresh fails or cannot
  // start, the next lookup of the stale value starts another one.
  // If the key is removed, or one of its tags is invalidated, during the computation, the result is
  // returned but not served to later lookups. A value that does not fit is returned to all callers
  // without being stored. `compute` may use the cache. A request for its own key throws
  // std::logic_error. If computations of several threads wait for each other's keys in a cycle, the
  // last thread to join the cycle computes instead of waiting.
  using Compute = std::function<std::optional<Tensor>()>;   // RETURNS nothing for "there is nothing"
  [[nodiscard]] Hit get_or_compute(const ItemKey& key, const Compute& compute, const ComputeOptions& options = {});

  // Batches; results are in the order of `keys`. add_many() throws std::invalid_argument if `keys`
  // and `values` differ in length. `compute` gets the indices of the keys that are
  // missing and not being computed by another caller, and returns as many tensors. It is called
  // once, or again if another caller's computation failed. Stale values are returned at once and
  // refreshed as above, each by a call with its index. A negative entry counts as missing.
  [[nodiscard]] std::vector<Hit> get_many(std::span<const ItemKey> keys);
  [[nodiscard]] std::vector<WriteResult> add_many(std::span<const ItemKey> keys, std::span<const TensorView> values, const AddOptions& options = {});
  using ComputeMany = std::function<std::vector<Tensor>(std::span<const std::size_t> missing)>;
  [[nodiscard]] std::vector<Hit> get_or_compute_many(std::span<const ItemKey> keys, const ComputeMany& compute, const AddOptions& options = {});

  // Invalidates all entries stored with this tag before now, in O(1): records a version that each
  // read checks. With a disk tier the record is written and synced before the call returns.
  // RETURNS false if it could not be persisted; the invalidation then applies to this process only.
  // Up to 65,536 tags are recorded separately; beyond that the older half is merged into one
  // invalidation of all tags. With a disk smaller than 192 MiB the limit is lower, so that the file
  // of tags takes at most an eighth.
  // COST: up to 4 MiB of memory for the records, outside the memory budget.
  bool invalidate(std::string_view tag);

  // RETURNS a version larger than all so far, for AddOptions::as_of.
  [[nodiscard]] std::uint64_t now();

  // Waits up to `timeout` for the lease, then holds it for at most `hold`. Advisory: plain add()
  // calls are not blocked. RETURNS an empty lease on timeout.
  [[nodiscard]] Lease lease(const ItemKey& key, std::chrono::milliseconds timeout, std::chrono::milliseconds hold);
  // add() that stores only if the lease is still held. The lease is not given to another holder
  // during the call.
  [[nodiscard]] WriteResult add(const Lease& lease, const TensorView& value, const AddOptions& options = {});
  [[nodiscard]] WriteResult add(const Lease& lease, std::span<const TensorView> parts, std::string_view structure, const AddOptions& options = {});

  void resize(std::uint64_t capacity_bytes);             // see Cache::resize
  void resize_entries(std::uint64_t capacity_entries);   // 0: no limit
  bool flush(std::chrono::milliseconds time);            // see Cache::flush
  bool close(std::chrono::milliseconds time);            // see Cache::close. REQUIRES: no other call is running
  // RETURNS the number of entries in memory, including expired and invalidated ones that no lookup
  // has met yet.
  // COST: O(1); for a cache of a CacheManager a scan of the index.
  [[nodiscard]] std::uint64_t size() const;
  [[nodiscard]] TensorCacheStats stats() const;

 private:
  friend class CacheManager;
  TensorCache(std::shared_ptr<tensor::Shared> shared, const std::string& name, std::uint64_t capacity_entries);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}   // namespace tensorcache
