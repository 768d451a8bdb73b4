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

// Locks, in this order: clearing, a stripe, then any one of: the store's, the computations', the
// limit's, the tags'.
//
// A key is written under its stripe; the bytes are copied before that. Readers take no stripe while
// they find something; one that finds nothing looks again under the stripe, where nobody is about
// to remove or write the key.
struct TensorCache::Impl {
  using Key = tensorcache::Key;
  using ValuePtr = std::shared_ptr<const tensor::StoredValue>;
  Impl(std::shared_ptr<tensor::Shared> shared, const std::string& name, std::uint64_t capacity_entries);

  // The key in the store of a key in this cache, and the reverse: names keep caches apart.
  [[nodiscard]] Key in_store(const Key& key) const;
  [[nodiscard]] std::mutex& stripe(const Key& key) { return stripes[key.bytes[8] % kStripes]; }

  // RETURNS: what is stored and neither expired nor invalidated; null: nothing; unavailable(): there is something that
  // cannot be read now. Takes no stripe.
  [[nodiscard]] ValuePtr find(const Key& key) { return find_stored(key).value; }
  struct Found {
    ValuePtr value;
    bool invalidated = false;   // there is something, and `value` is null for this reason
  };
  [[nodiscard]] Found find_stored(const Key& key);
  // The same; null is certain. Clears away what was invalidated.
  [[nodiscard]] ValuePtr look(const Key& key);
  // What is known without reading a whole value from disk; see Cache::head. With the key's stripe
  // held, nothing is certain.
  [[nodiscard]] std::optional<tensor::ValueHead> head(const Key& key) const;
  [[nodiscard]] static const ValuePtr& unavailable();
  // Counts a hit; probe() leaves a miss to be counted, as a miss or as a wait for another's
  // computation.
  [[nodiscard]] Hit probe(const Key& key);
  [[nodiscard]] Hit get(const Key& key);

  // `only_if`: the version that must be stored, 0 for nothing.
  WriteResult write(const Key& key, tensor::Encoder& encoder, const AddOptions& options, std::optional<std::uint64_t> only_if = std::nullopt);
  // Of a compare-and-swap, with the stripe held: what keeps it from being done, if anything does.
  [[nodiscard]] std::optional<WriteResult> conflict(const Key& key, std::uint64_t only_if);
  [[nodiscard]] Reservation prepare(const Key& key, const tensor::Encoder& encoder, const AddOptions& options);
  [[nodiscard]] WriteResult commit_locked(const Key& key, Reservation draft, tensor::Encoder& encoder);
  void trim_entries();   // to the limit. No stripe may be held

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
  Key space;   // all zeros for a cache without a name
  std::uint64_t owner = 0;
  std::shared_mutex clearing;   // shared while a value is stored, so that clear() is before or after that
  std::array<std::mutex, kStripes> stripes;
  tensor::EntryLimit limit;
  tensor::Computations computations;
  std::shared_ptr<tensor::Leases> leases = std::make_shared<tensor::Leases>();
  struct Counters {
    std::atomic<std::uint64_t> hits{0}, stale_hits{0}, negative_hits{0}, misses{0}, waits{0}, writes{0}, rejected_writes{0}, conflicts{0},
        computations{0}, refreshes{0}, failed_computations{0}, entry_limit_evictions{0}, unavailable{0}, dropped_refreshes{0};
  } counters;
  tensor::Refresher refresher;   // last: its thread goes first
};

// Throw std::invalid_argument that names what is wrong.
void require_valid(const AddOptions& options);
[[nodiscard]] tensor::ValueHead head_of(const AddOptions& options, bool negative = false);

}   // namespace tensorcache
