// The implementation of TensorCache.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <variant>

#include "library/tensor/computations.h"
#include "library/tensor/entry_limit.h"
#include "library/tensor/leases.h"
#include "library/tensor/refresher.h"
#include "library/tensor/shared_store.h"
#include "library/tensor/value_format.h"
#include "tensorcache/tensor_cache.h"

namespace tensorcache {

// Lock order: clearing, a stripe, then one of: the store's, the computations', the limit's, the
// tags'.
//
// A key is written under its stripe; the bytes are copied before. A read that finds a value takes
// no stripe; one that finds nothing looks again under the stripe, where no other thread is about to
// remove or write the key.
struct TensorCache::Impl {
  using Key = tensorcache::Key;
  using ValuePtr = std::shared_ptr<const tensor::StoredValue>;
  Impl(std::shared_ptr<tensor::Shared> shared, const std::string& name, std::uint64_t capacity_entries);

  // Maps a key of this cache to its key in the store, and back. Caches have different names, and so
  // different keys.
  [[nodiscard]] Key in_store(const Key& key) const;
  [[nodiscard]] std::mutex& stripe(const Key& key) { return stripes[key.bytes[8] % kStripes]; }

  // RETURNS: the stored value, neither expired nor invalidated; null for nothing; unavailable() if
  // it cannot be read now. Takes no stripe.
  [[nodiscard]] ValuePtr read_unlocked(const Key& key) { return find_value(key).value; }
  struct Found {
    ValuePtr value;
    bool invalidated = false;   // a stored value is invalidated, so `value` is null
  };
  [[nodiscard]] Found find_value(const Key& key);
  // read_unlocked() that looks again under the stripe, so that null is certain. Removes
  // invalidated values.
  [[nodiscard]] ValuePtr read_or_confirm_miss(const Key& key);
  // RETURNS the head of a value without reading a whole value from disk, see Cache::head. Under the
  // key's stripe nothing means: not certain.
  [[nodiscard]] std::optional<tensor::ValueHead> head(const Key& key) const;
  [[nodiscard]] static const ValuePtr& unavailable();
  // Looks up and counts a hit. A miss is counted by the caller, as a miss or as a wait for another
  // computation.
  [[nodiscard]] Hit probe(const Key& key);
  [[nodiscard]] Hit get(const Key& key);

  // `only_if`: the version that must be stored, 0 for none.
  WriteResult write(const Key& key, tensor::Encoder& encoder, const AddOptions& options, std::optional<std::uint64_t> only_if = std::nullopt);
  // RETURNS the reason why a compare-and-swap fails, if it does. REQUIRES: the stripe is held.
  [[nodiscard]] std::optional<WriteResult> conflict(const Key& key, std::uint64_t only_if);
  [[nodiscard]] Reservation prepare(const Key& key, const tensor::Encoder& encoder, const AddOptions& options, bool urgent = false);
  [[nodiscard]] WriteResult commit_locked(const Key& key, Reservation reservation, tensor::Encoder& encoder);
  void trim_entries();   // Evicts down to the limit. REQUIRES: no stripe is held

  // compute.cc
  using Lead = tensor::Computations::Lead;
  [[nodiscard]] std::variant<ValuePtr, Lead> join(const Key& key);
  [[nodiscard]] ValuePtr store_computed(Lead& lead, const Key& key, const std::optional<Tensor>& computed, std::uint64_t as_of,
                                        std::uint64_t replaces, const ComputeOptions& options);
  [[nodiscard]] ValuePtr compute(Lead& lead, const Key& key, const Compute& function, std::uint64_t replaces, const ComputeOptions& options);
  void refresh_later(const Key& key, const Compute& function, std::uint64_t version, const ComputeOptions& options);
  void refresh(const Key& key, const Compute& function, std::uint64_t version, const ComputeOptions& options);
  struct Batch;

  static constexpr std::size_t kStripes = 64;
  const std::shared_ptr<tensor::Shared> shared;
  Key space;   // all zeros: no name
  std::uint64_t owner = 0;
  std::shared_mutex clearing;   // shared while a value is stored, so that clear() is ordered before or after it
  std::array<std::mutex, kStripes> stripes;
  tensor::EntryLimit limit;
  tensor::Computations computations;
  std::shared_ptr<tensor::Leases> leases = std::make_shared<tensor::Leases>();
  struct Counters {
    std::atomic<std::uint64_t> hits{0}, stale_hits{0}, negative_hits{0}, misses{0}, waits{0}, writes{0}, rejected_writes{0}, conflicts{0},
        computations{0}, refreshes{0}, failed_computations{0}, entry_limit_evictions{0}, unavailable{0}, dropped_refreshes{0};
  } counters;
  tensor::Refresher refresher;   // last member: its thread ends before the others are destroyed
};

// Throws std::invalid_argument that names the invalid option.
void require_valid(const AddOptions& options);
[[nodiscard]] tensor::ValueHead head_of(const AddOptions& options, bool negative = false);

}   // namespace tensorcache
