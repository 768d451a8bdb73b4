// Implements get_or_compute: single-flight, background refreshes, batches.
#include <new>
#include <stdexcept>
#include <unordered_map>

#include "library/tensor/tensor_cache_impl.h"

namespace tensorcache {
namespace {

// RETURNS a value outside the store, for callers that need it although it is not, or no longer,
// stored. Its version is 0.
std::shared_ptr<const tensor::StoredValue> detached(const tensor::Encoder& encoder) {
  auto* memory = static_cast<std::byte*>(::operator new(encoder.bytes(), std::align_val_t{64}));
  const std::shared_ptr<const std::byte[]> own(
      memory, [](const std::byte* bytes) { ::operator delete(const_cast<std::byte*>(bytes), std::align_val_t{64}); });
  encoder.write({memory, encoder.bytes()});
  auto value = tensor::decode({memory, encoder.bytes()});
  value->head.version = 0;
  value->own = own;
  return std::make_shared<const tensor::StoredValue>(std::move(*value));
}

}   // namespace

// RETURNS the result of the computing caller, or the lead. A result is not given to callers that
// asked after one of its tags was invalidated.
std::variant<TensorCache::Impl::ValuePtr, TensorCache::Impl::Lead> TensorCache::Impl::join(const Key& key) {
  for (;;) {
    auto joined = computations.join(key);
    const auto* landed = std::get_if<ValuePtr>(&joined);
    if (landed == nullptr || !shared->tags->is_gone((*landed)->head)) return joined;
  }
}

TensorCache::Impl::ValuePtr TensorCache::Impl::store_computed(Lead& lead, const Key& key, const std::optional<Tensor>& computed, std::uint64_t as_of,
                                                              std::uint64_t replaces, const ComputeOptions& options) {
  AddOptions add = options;
  add.as_of = as_of;
  if (!computed) add.time_to_live = options.negative_time_to_live, add.stale_for = {};
  TensorView view;
  if (computed) view = computed->view();
  tensor::Encoder encoder(head_of(add, !computed), std::span(&view, computed ? 1 : 0), {});
  const bool stores = computed || options.negative_time_to_live.count() > 0;
  Reservation reservation = stores ? prepare(key, encoder, add) : Reservation();
  ValuePtr result;
  {
    const std::shared_lock whole(clearing);
    const std::lock_guard lock(stripe(key));
    result = read_unlocked(key);
    if (result == unavailable()) {   // the stored value may be newer than this one
      result = nullptr;
    } else if (!result || result->head.version == replaces) {   // otherwise it was written during the computation and is newer
      result = nullptr;
      if (stores && !lead.is_forgotten()) {
        const WriteResult written = commit_locked(key, std::move(reservation), encoder);
        (written ? counters.writes : counters.rejected_writes).fetch_add(1, std::memory_order_relaxed);
        if (written) result = read_unlocked(key);
      }
    }
  }
  trim_entries();
  if (!result) result = detached(encoder);
  lead.land(result);
  return result;
}

TensorCache::Impl::ValuePtr TensorCache::Impl::compute(Lead& lead, const Key& key, const Compute& function, std::uint64_t replaces,
                                                       const ComputeOptions& options) {
  const std::uint64_t as_of = shared->next_version();
  counters.computations.fetch_add(1, std::memory_order_relaxed);
  try {
    return store_computed(lead, key, function(), as_of, replaces, options);
  } catch (...) {
    counters.failed_computations.fetch_add(1, std::memory_order_relaxed);
    throw;
  }
}

// The caller serves the stale value whether a refresh can start or not.
void TensorCache::Impl::refresh_later(const Key& key, const Compute& function, std::uint64_t version, const ComputeOptions& options) {
  try {
    const bool taken = refresher.post(key, [this, key, function, version, options] { refresh(key, function, version, options); });
    if (!taken) counters.dropped_refreshes.fetch_add(1, std::memory_order_relaxed);
  } catch (...) {
    counters.failed_computations.fetch_add(1, std::memory_order_relaxed);
  }
}

// Becomes the leader only now: another caller may have computed the key while this job waited.
void TensorCache::Impl::refresh(const Key& key, const Compute& function, std::uint64_t version, const ComputeOptions& options) {
  try {
    std::optional<Lead> lead = computations.lead(key);
    if (!lead) return;
    if (const ValuePtr there = read_unlocked(key); !there || there->head.version != version) return;
    counters.refreshes.fetch_add(1, std::memory_order_relaxed);
    static_cast<void>(compute(*lead, key, function, version, options));
  } catch (...) {   // NOLINT: compute() counts it; the stale value is served on, and the next to meet it tries again
  }
}

Hit TensorCache::get_or_compute(const ItemKey& item, const Compute& compute, const ComputeOptions& options) {
  require_valid(options);
  if (options.negative_time_to_live.count() < 0) throw std::invalid_argument("negative_time_to_live: must not be negative");
  const Key key = impl_->in_store(item.key());
  Hit hit = impl_->probe(key);
  if (hit.version() != 0) {
    if (hit.stale()) impl_->refresh_later(key, compute, hit.version(), options);
    return hit;
  }
  auto joined = impl_->join(key);
  auto* landed = std::get_if<Impl::ValuePtr>(&joined);
  (landed != nullptr ? impl_->counters.waits : impl_->counters.misses).fetch_add(1, std::memory_order_relaxed);
  if (landed != nullptr) return Hit(std::move(*landed));
  auto& lead = std::get<Impl::Lead>(joined);
  // Another thread may have stored it between this caller's miss and its lead.
  if (Impl::ValuePtr stored = impl_->read_or_confirm_miss(key); stored && stored != Impl::unavailable()) {
    lead.land(stored);
    return Hit(std::move(stored));
  }
  return Hit(impl_->compute(lead, key, compute, 0, options));
}

// One call of get_or_compute_many.
struct TensorCache::Impl::Batch {
  Impl& impl;
  std::span<const ItemKey> items;
  const ComputeMany& compute;
  const ComputeOptions options;
  std::vector<Hit> hits;

  [[nodiscard]] Key key(std::size_t i) const { return impl.in_store(items[i].key()); }

  // A value stored meanwhile is the result; a negative entry is computed again.
  [[nodiscard]] bool is_stored(std::size_t i, Lead& lead) {
    ValuePtr stored = impl.read_or_confirm_miss(key(i));
    if (!stored || stored == unavailable() || stored->head.negative) return false;
    lead.land(stored);
    hits[i] = Hit(std::move(stored));
    return true;
  }

  // Counts each index once: a negative entry was already counted as a hit.
  void count(std::size_t i, std::atomic<std::uint64_t>& counter) const {
    if (hits[i].version() == 0) counter.fetch_add(1, std::memory_order_relaxed);
  }

  static std::vector<Tensor> computed(const ComputeMany& compute, std::span<const std::size_t> missing) {
    std::vector<Tensor> tensors = compute(missing);
    if (tensors.size() != missing.size()) throw std::invalid_argument("compute: must return one tensor for each index it was given");
    return tensors;
  }

  void run(std::span<const std::size_t> missing, std::span<Lead> leads) {
    if (missing.empty()) return;
    const std::uint64_t as_of = impl.shared->next_version();
    impl.counters.computations.fetch_add(missing.size(), std::memory_order_relaxed);
    const std::vector<Tensor> tensors = computed(compute, missing);
    for (std::size_t i = 0; i < missing.size(); ++i) {
      const ValuePtr there = impl.read_unlocked(key(missing[i]));
      const std::uint64_t replaces = there && there->head.negative ? there->head.version : 0;
      hits[missing[i]] = Hit(impl.store_computed(leads[i], key(missing[i]), tensors[i], as_of, replaces, options));
    }
  }

  void refresh_later(std::size_t i) {
    const Compute one = [compute = compute, i] { return std::move(computed(compute, std::span(&i, 1)).front()); };
    impl.refresh_later(key(i), one, hits[i].version(), options);
  }

  void follow(std::size_t i) {
    auto joined = impl.join(key(i));
    auto* landed = std::get_if<ValuePtr>(&joined);
    count(i, landed != nullptr ? impl.counters.waits : impl.counters.misses);
    if (landed != nullptr) {
      hits[i] = Hit(std::move(*landed));
    } else if (auto& lead = std::get<Lead>(joined); !is_stored(i, lead)) {
      run(std::span(&i, 1), std::span(&lead, 1));
    }
  }
};

std::vector<Hit> TensorCache::get_or_compute_many(std::span<const ItemKey> items, const ComputeMany& compute, const AddOptions& options) {
  require_valid(options);
  Impl::Batch batch{*impl_, items, compute, {options, {}}, {}};
  batch.hits.reserve(items.size());
  for (const ItemKey& item : items) batch.hits.push_back(probe(item));
  std::unordered_map<Key, std::size_t> first;   // first index of each missing key
  std::vector<std::size_t> led, followed, repeated;
  std::vector<Impl::Lead> leads;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (batch.hits[i]) {
      if (batch.hits[i].stale()) batch.refresh_later(i);
    } else if (!first.emplace(items[i].key(), i).second) {
      repeated.push_back(i);
      batch.count(i, impl_->counters.waits);
    } else if (std::optional<Impl::Lead> lead = impl_->computations.lead(batch.key(i)); !lead) {
      followed.push_back(i);
    } else {
      batch.count(i, impl_->counters.misses);
      if (batch.is_stored(i, *lead)) continue;
      led.push_back(i);
      leads.push_back(std::move(*lead));
    }
  }
  // Computes its own leads before it waits for others, so that two batches never wait for each
  // other.
  batch.run(led, leads);
  for (const std::size_t i : followed) batch.follow(i);
  for (const std::size_t i : repeated) batch.hits[i] = batch.hits[first.at(items[i].key())];
  return std::move(batch.hits);
}

}   // namespace tensorcache
