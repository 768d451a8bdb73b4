// A program's own cache of tensors: tokens in, tensors out. On top of Cache (cache.h): its budget, its policies, its disk.
//
// Example:
//   tensorcache::TensorCache cache({.store = {.capacity_bytes = 1 << 26}});
//   const std::vector<std::int32_t> tokens = {101, 7592, 2088, 102};
//   const tensorcache::Hit logits = cache.get_or_compute(tokens, [&] { return run_model(tokens); });
//   use(logits.tensor().elements<float>());   // zero copy, pinned until the last copy of `logits` goes
//
//   using namespace std::chrono_literals;
//   (void)cache.add("weather", tensorcache::TensorView::text("rain"), {.time_to_live = 60s, .stale_for = 1h, .tags = {"forecast"}});
//   cache.invalidate("forecast");   // everything with that tag, in O(1)
//
//   const tensorcache::Hit counter = cache.get("counter");   // compare-and-swap: 0 is "nothing there"
//   if (!cache.put_if_version("counter", counter.version(), tensorcache::TensorView::text("1"))) retry();
//
// Threads: every member but close() may be called from any thread at any time. For each key alone, reads and writes are linearizable: a read sees
// the last write that ended before it began, or one that overlaps it. A value may go at any time: it is a cache. One that is on disk only and
// cannot be read now is a miss that says so (Hit::unavailable); put_if_version() refuses then.
// Values are never changed in place; whoever holds a Hit keeps what it saw.
// Errors: what did not go in comes back as a WriteStatus. std::invalid_argument for a wrong argument, naming it; what a caller's own
// function throws. A disk that fails is a miss.
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

#include "tensorcache/cache.h"
#include "tensorcache/key.h"
#include "tensorcache/tensor.h"

namespace tensorcache {

namespace tensor {
struct StoredValue;
class Leases;
struct Shared;
}   // namespace tensor

// What a value is stored under: tokens, bytes or text; they never meet (docs/format-tensor.md). Implicit on purpose.
// Cost: one SHA-256, about 300 ns and 0.5 ns a byte.
class ItemKey {
 public:
  ItemKey(const Key& key) : key_(key) {}                                             // NOLINT: a key made elsewhere, e.g. by KeyBuilder
  ItemKey(std::string_view text);                                                    // NOLINT
  ItemKey(const std::string& text) : ItemKey(std::string_view(text)) {}              // NOLINT
  ItemKey(const char* text) : ItemKey(std::string_view(text)) {}                     // NOLINT
  ItemKey(std::span<const std::byte> bytes);                                         // NOLINT
  ItemKey(std::span<const std::int64_t> tokens);                                     // NOLINT: the same key as the same tokens in 32 bits
  ItemKey(std::span<const std::int32_t> tokens);                                     // NOLINT
  ItemKey(const std::vector<std::int32_t>& tokens) : ItemKey(std::span(tokens)) {}   // NOLINT
  ItemKey(const std::vector<std::int64_t>& tokens) : ItemKey(std::span(tokens)) {}   // NOLINT
  [[nodiscard]] const Key& key() const { return key_; }

 private:
  Key key_;
};

struct AddOptions {
  // Served as fresh so long; then, for `stale_for`, marked as stale (see Hit::stale); then gone. 0: fresh for ever.
  std::chrono::milliseconds time_to_live{0};
  std::chrono::milliseconds stale_for{0};
  // What invalidate() knows it by; at most 16.
  std::vector<std::string> tags = {};
  // What computing it again would take, for policies that weigh that ("gdsf").
  float cost_seconds = 1;
  // A now() from before the value's computation began, so that a tag that was invalidated since then takes it along. 0: as of this call.
  // get_or_compute() knows by itself when it began.
  std::uint64_t as_of = 0;
};

struct ComputeOptions : AddOptions {
  // How long "there is nothing" (a compute that returned nothing) is remembered. 0: not at all, the next caller computes again.
  std::chrono::milliseconds negative_time_to_live{0};
};

enum class WriteStatus : std::uint8_t {
  kStored,
  kConflict,    // put_if_version: another version is there (WriteResult::version says which)
  kLeaseLost,   // the lease ran out
  kTooLarge,    // larger than the whole budget; what was there before stays
  kNoSpace,     // everything that could go is pinned; likewise
  // put_if_version: the stored value cannot be read now (Hit::unavailable), so its version is not known
  kUnavailable,
};
[[nodiscard]] std::string_view write_status_name(WriteStatus status);

struct WriteResult {
  WriteStatus status = WriteStatus::kStored;
  std::uint64_t version = 0;   // of what is stored now: never 0, never used twice for a key, larger than all before it. 0: nothing
  [[nodiscard]] explicit operator bool() const { return status == WriteStatus::kStored; }
};

// A value that was found (or "there is nothing", if that was remembered), pinned and read-only. Empty after a miss.
// Copies share the pin. It may outlive the cache. Cheap to copy (one atomic operation).
class Hit {
 public:
  Hit() = default;
  explicit Hit(std::shared_ptr<const tensor::StoredValue> value) : value_(std::move(value)) {}

  // Whether there is a value. False after a miss, and where negative() is true.
  [[nodiscard]] explicit operator bool() const { return parts() > 0; }
  // A miss of a value that is stored: everything in memory is pinned, or the disk failed. Not the same as nothing there.
  [[nodiscard]] bool unavailable() const;
  // It is known that there is nothing: no value, and no need to compute.
  [[nodiscard]] bool negative() const;
  // A value may have several parts, each a tensor, bytes or text, e.g. a model's several outputs. Throws std::out_of_range.
  [[nodiscard]] std::size_t parts() const;
  [[nodiscard]] TensorView tensor(std::size_t part = 0) const;   // dense; its data 64-byte aligned
  // How the parts belong together, for whoever wrote them; Python writes JSON (docs/format-tensor.md). Empty: one part, nothing to say.
  [[nodiscard]] std::string_view structure() const;
  [[nodiscard]] std::uint64_t version() const;           // 0 for an empty hit, and for what was computed and is not stored
  [[nodiscard]] bool stale() const;                      // past its time to live when it was read
  [[nodiscard]] std::chrono::milliseconds age() const;   // since it was stored

 private:
  std::shared_ptr<const tensor::StoredValue> value_;
};

// The right to write one key, held by one at a time and for a limited time; a write that began in time counts. Move-only; given back at
// its end. Empty if it was not got.
class Lease {
 public:
  Lease() = default;
  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) noexcept;
  ~Lease();
  // False once it ran out or was given back: somebody else may hold it now.
  [[nodiscard]] explicit operator bool() const;
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
  // At most so many entries, the least recently used going first, beside what the budget of bytes and its policy say. 0: no such limit.
  // What a disk has from before counts from its first use on. Takes about 140 bytes for each of them, outside the budget of bytes.
  std::uint64_t capacity_entries = 0;
  // Caches of different names never see each other's entries, on disk either. At most 200 bytes.
  std::string name = {};
};

struct TensorCacheStats {
  std::uint64_t hits = 0, stale_hits = 0, negative_hits = 0, misses = 0;   // stale and negative hits are hits too
  std::uint64_t waits = 0;   // lookups that got what another caller was computing: neither hits nor misses
  std::uint64_t writes = 0, rejected_writes = 0, conflicts = 0;
  std::uint64_t computations = 0, refreshes = 0, failed_computations = 0;   // refreshes are computations too
  std::uint64_t entry_limit_evictions = 0;
  Stats store;                           // of the whole store: all caches of a CacheManager
  DiskStats disk;                        // likewise
  std::uint64_t unavailable = 0;         // misses of stored values that could not be read
  std::uint64_t tags = 0;                // whose invalidation is remembered, see invalidate()
  std::uint64_t waiting_refreshes = 0;   // 4,096 at most; beyond that a stale value is served without a refresh
  std::uint64_t dropped_refreshes = 0;   // because so many waited
};

class TensorCache {
 public:
  // Throws what Cache's constructor throws. With a disk it returns when what is stored there is visible.
  explicit TensorCache(const TensorCacheOptions& options);
  // Waits for a refresh that is running. Nothing else may be running.
  ~TensorCache();
  TensorCache(TensorCache&&) noexcept;
  TensorCache& operator=(TensorCache&&) noexcept;

  // Stores a copy, in place of what is there. A reader sees the old value or the new one, never neither.
  [[nodiscard]] WriteResult add(const ItemKey& key, const TensorView& value, const AddOptions& options = {});
  [[nodiscard]] WriteResult add(const ItemKey& key, std::span<const TensorView> parts, std::string_view structure, const AddOptions& options = {});
  // Only if `version` is what is stored; 0: only if nothing is. A stale value counts as stored, an invalidated one does not.
  [[nodiscard]] WriteResult put_if_version(const ItemKey& key, std::uint64_t version, const TensorView& value, const AddOptions& options = {});
  [[nodiscard]] WriteResult put_if_version(const ItemKey& key, std::uint64_t version, std::span<const TensorView> parts, std::string_view structure,
                                           const AddOptions& options = {});
  // Remembers that there is nothing, for options.time_to_live.
  WriteResult add_negative(const ItemKey& key, const AddOptions& options);

  [[nodiscard]] Hit get(const ItemKey& key);
  [[nodiscard]] Hit peek(const ItemKey& key);        // the same; counts as a use, but neither as a hit nor as a miss
  [[nodiscard]] Hit probe(const ItemKey& key);       // the same; counts a hit, not a miss: for who shares computations by other means
  [[nodiscard]] bool contains(const ItemKey& key);   // a value, fresh or stale. Reads no value from disk, and counts as no use
  bool remove(const ItemKey& key);                   // true: there was something
  std::uint64_t clear();                             // how many entries went

  // What is stored, or what `compute` returns, which is then stored. However many threads ask, one computes; the others wait for it.
  // If it throws, its caller gets the exception, nothing is stored, and one of those waiting computes in its place, with its own `compute`;
  // where that throws each time, each gets an exception of its own.
  // A stale value is returned at once, while a thread of the cache's refreshes it; `compute` is copied for that, so what it refers to
  // must live as long as the cache. If that fails, or cannot begin, the next to meet the stale value tries again. If the key is removed, or
  // a tag of it is invalidated, while it is computed, the result is returned but not served to anybody who asks later. A value that does not
  // fit is returned all the same, to those waiting too.
  // `compute` may use the cache. Asking for its own key here is a std::logic_error. Where computations of several threads ask for each other's
  // keys in a circle, the last to ask computes instead of waiting.
  using Compute = std::function<std::optional<Tensor>()>;   // nothing: there is nothing
  [[nodiscard]] Hit get_or_compute(const ItemKey& key, const Compute& compute, const ComputeOptions& options = {});

  // In the order of `keys`. `compute` gets the indices of those that are missing and that nobody else computes, and returns as many
  // tensors; it is called once, or more often where another's computation failed. Stale values are returned at once and refreshed as above,
  // each by a call with its one index. Where "there is nothing" is remembered it is asked again.
  [[nodiscard]] std::vector<Hit> get_many(std::span<const ItemKey> keys);
  [[nodiscard]] std::vector<WriteResult> add_many(std::span<const ItemKey> keys, std::span<const TensorView> values, const AddOptions& options = {});
  using ComputeMany = std::function<std::vector<Tensor>(std::span<const std::size_t> missing)>;
  [[nodiscard]] std::vector<Hit> get_or_compute_many(std::span<const ItemKey> keys, const ComputeMany& compute, const AddOptions& options = {});

  // Everything stored with this tag before now is gone: an O(1) note, checked at each read. With a disk the note is written and synced
  // before this returns; false: it could not be, and holds for this process only. Of the older half of more than 65,536 different tags only
  // the last invalidation is remembered, as one of every tag; with a disk below 192 MiB of fewer, so that the file of tags takes an eighth of it
  // at most. Takes up to 4 MiB of memory for them, outside the budget of bytes.
  bool invalidate(std::string_view tag);

  // A version larger than all so far, for AddOptions::as_of.
  [[nodiscard]] std::uint64_t now();

  // Waits up to `patience` for whoever holds it, then holds it for `hold` at most. A lease keeps off only those who ask for one.
  [[nodiscard]] Lease lease(const ItemKey& key, std::chrono::milliseconds patience, std::chrono::milliseconds hold);
  // add() that stores only if the lease is still held. Nobody else gets the lease before that is done.
  [[nodiscard]] WriteResult add(const Lease& lease, const TensorView& value, const AddOptions& options = {});
  [[nodiscard]] WriteResult add(const Lease& lease, std::span<const TensorView> parts, std::string_view structure, const AddOptions& options = {});

  void resize(std::uint64_t capacity_bytes);
  void resize_entries(std::uint64_t capacity_entries);   // 0: no limit
  bool flush(std::chrono::milliseconds time);            // see Cache::flush
  bool close(std::chrono::milliseconds time);            // see Cache::close. Nothing else may be running
  // Entries held in memory, those that expired or were invalidated and that nobody has met since included. O(1) for a cache of its own;
  // for one of a CacheManager's a walk over the index.
  [[nodiscard]] std::uint64_t size() const;
  [[nodiscard]] TensorCacheStats stats() const;

 private:
  friend class CacheManager;
  TensorCache(std::shared_ptr<tensor::Shared> shared, const std::string& name, std::uint64_t capacity_entries);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}   // namespace tensorcache
