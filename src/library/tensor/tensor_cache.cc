#include "tensorcache/tensor_cache.h"

#include <algorithm>
#include <stdexcept>

#include "library/tensor/tensor_cache_impl.h"

namespace tensorcache {
namespace {

tensor::Encoder encoder_of(std::span<const TensorView> parts, std::string_view structure, const AddOptions& options, bool negative = false) {
  return {head_of(options, negative), parts, structure};
}

}   // namespace

std::string_view write_status_name(WriteStatus status) {
  constexpr std::string_view kNames[] = {"stored", "conflict", "lease-lost", "too-large", "no-space", "unavailable"};
  const auto number = static_cast<std::size_t>(status);
  return number < std::size(kNames) ? kNames[number] : "unknown";
}

TensorCache::TensorCache(const TensorCacheOptions& options)
    : TensorCache(std::make_shared<tensor::Shared>(options.store), options.name, options.capacity_entries) {}
TensorCache::TensorCache(std::shared_ptr<tensor::Shared> shared, const std::string& name, std::uint64_t capacity_entries)
    : impl_(std::make_unique<Impl>(std::move(shared), name, capacity_entries)) {}
TensorCache::~TensorCache() = default;
TensorCache::TensorCache(TensorCache&&) noexcept = default;
TensorCache& TensorCache::operator=(TensorCache&&) noexcept = default;

WriteResult TensorCache::add(const ItemKey& key, const TensorView& value, const AddOptions& options) {
  return add(key, std::span(&value, 1), {}, options);
}

WriteResult TensorCache::add(const ItemKey& key, std::span<const TensorView> parts, std::string_view structure, const AddOptions& options) {
  tensor::Encoder encoder = encoder_of(parts, structure, options);
  return impl_->write(impl_->in_store(key.key()), encoder, options);
}

WriteResult TensorCache::put_if_version(const ItemKey& key, std::uint64_t version, const TensorView& value, const AddOptions& options) {
  return put_if_version(key, version, std::span(&value, 1), {}, options);
}

WriteResult TensorCache::put_if_version(const ItemKey& key, std::uint64_t version, std::span<const TensorView> parts, std::string_view structure,
                                        const AddOptions& options) {
  tensor::Encoder encoder = encoder_of(parts, structure, options);
  return impl_->write(impl_->in_store(key.key()), encoder, options, version);
}

WriteResult TensorCache::add_negative(const ItemKey& key, const AddOptions& options) {
  tensor::Encoder encoder = encoder_of({}, {}, options, true);
  return impl_->write(impl_->in_store(key.key()), encoder, options);
}

Hit TensorCache::get(const ItemKey& key) { return impl_->get(impl_->in_store(key.key())); }

Hit TensorCache::probe(const ItemKey& key) { return impl_->probe(impl_->in_store(key.key())); }

Hit TensorCache::peek(const ItemKey& key) { return Hit(impl_->read_or_confirm_miss(impl_->in_store(key.key()))); }

bool TensorCache::contains(const ItemKey& item) {
  const Key key = impl_->in_store(item.key());
  auto head = impl_->head(key);
  if (!head) {
    const std::lock_guard lock(impl_->stripe(key));
    head = impl_->head(key);
  }
  return head && !head->negative;
}

bool TensorCache::remove(const ItemKey& item) {
  const Key key = impl_->in_store(item.key());
  const std::lock_guard lock(impl_->stripe(key));
  const bool there = impl_->head(key).has_value();
  impl_->computations.forget(key);
  impl_->limit.erase(key);
  impl_->shared->cache.remove(key);
  return there;
}

std::uint64_t TensorCache::clear() {
  const std::unique_lock lock(impl_->clearing);
  impl_->computations.forget_all();
  impl_->limit.clear();
  return impl_->shared->cache.clear(impl_->owner);
}

std::vector<Hit> TensorCache::get_many(std::span<const ItemKey> keys) {
  std::vector<Hit> hits;
  hits.reserve(keys.size());
  for (const ItemKey& key : keys) hits.push_back(get(key));
  return hits;
}

std::vector<WriteResult> TensorCache::add_many(std::span<const ItemKey> keys, std::span<const TensorView> values, const AddOptions& options) {
  if (keys.size() != values.size()) throw std::invalid_argument("values: there must be one for each key");
  std::vector<WriteResult> results;
  results.reserve(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) results.push_back(add(keys[i], values[i], options));
  return results;
}

bool TensorCache::invalidate(std::string_view tag) { return impl_->shared->tags->invalidate(tensor::tag_id(tag), impl_->shared->next_version()); }

std::uint64_t TensorCache::now() { return impl_->shared->next_version(); }

Lease TensorCache::lease(const ItemKey& item, std::chrono::milliseconds timeout, std::chrono::milliseconds hold) {
  const Key key = impl_->in_store(item.key());
  const std::uint64_t token = impl_->leases->take(key, timeout, hold);
  return token == 0 ? Lease() : Lease(impl_->leases, key, token);
}

WriteResult TensorCache::add(const Lease& lease, const TensorView& value, const AddOptions& options) {
  return add(lease, std::span(&value, 1), {}, options);
}

WriteResult TensorCache::add(const Lease& lease, std::span<const TensorView> parts, std::string_view structure, const AddOptions& options) {
  tensor::Encoder encoder = encoder_of(parts, structure, options);
  if (lease.leases_ == impl_->leases) {
    const tensor::Leases::Write allowed(*lease.leases_, lease.key_, lease.token_);
    if (allowed) return impl_->write(lease.key_, encoder, options);
  }
  impl_->counters.rejected_writes.fetch_add(1, std::memory_order_relaxed);
  return {WriteStatus::kLeaseLost, 0};
}

void TensorCache::resize(std::uint64_t capacity_bytes) { impl_->shared->cache.resize(capacity_bytes); }

void TensorCache::resize_entries(std::uint64_t capacity_entries) {
  const bool known = impl_->limit.is_set();
  impl_->limit.resize(capacity_entries);
  if (!known && capacity_entries > 0) {
    const auto all = impl_->shared->cache.list(impl_->owner, SIZE_MAX);   // most recently used first
    std::for_each(all.rbegin(), all.rend(), [&](const EntryInfo& info) { impl_->limit.insert(info.key); });
  }
  impl_->trim_entries();
}

bool TensorCache::flush(std::chrono::milliseconds time) { return impl_->shared->cache.flush(time); }

bool TensorCache::close(std::chrono::milliseconds time) {
  impl_->refresher.stop();
  return impl_->shared->cache.close(time);
}

std::uint64_t TensorCache::size() const {
  const Stats stats = impl_->shared->caches == 1 ? impl_->shared->cache.stats() : impl_->shared->cache.stats(impl_->owner);
  return stats.kinds[static_cast<std::size_t>(Kind::kTensor)].entries;
}

TensorCacheStats TensorCache::stats() const {
  const Impl::Counters& from = impl_->counters;
  TensorCacheStats stats{.hits = from.hits,
                         .stale_hits = from.stale_hits,
                         .negative_hits = from.negative_hits,
                         .misses = from.misses,
                         .waits = from.waits,
                         .writes = from.writes,
                         .rejected_writes = from.rejected_writes,
                         .conflicts = from.conflicts,
                         .computations = from.computations,
                         .refreshes = from.refreshes,
                         .failed_computations = from.failed_computations,
                         .entry_limit_evictions = from.entry_limit_evictions,
                         .store = {},
                         .disk = {},
                         .unavailable = from.unavailable,
                         .tags = impl_->shared->tags->count(),
                         .waiting_refreshes = impl_->refresher.waiting(),
                         .dropped_refreshes = from.dropped_refreshes};
  stats.store = impl_->shared->cache.stats();
  stats.disk = impl_->shared->cache.disk_stats();
  return stats;
}

}   // namespace tensorcache
