#include "library/tensor/tensor_cache_impl.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace tensorcache {
namespace {

constexpr std::size_t kMaxNameBytes = 200;

PutOptions put_options(std::uint64_t owner, const AddOptions& options, bool urgent) {
  PutOptions put{.kind = Kind::kTensor, .owner = owner, .cost_seconds = options.cost_seconds, .replaces = true, .urgent = urgent};
  if (options.time_to_live.count() != 0) {
    put.time_to_live = options.time_to_live > std::chrono::milliseconds::max() - options.stale_for ? std::chrono::milliseconds::max()
                                                                                                   : options.time_to_live + options.stale_for;
  }
  return put;
}

}   // namespace

void require_valid(const AddOptions& options) {
  if (options.time_to_live.count() < 0) throw std::invalid_argument("time_to_live: must not be negative");
  if (options.stale_for.count() < 0) throw std::invalid_argument("stale_for: must not be negative");
  if (options.tags.size() > tensor::kMaxTags)
    throw std::invalid_argument("tags: the maximum is " + std::to_string(tensor::kMaxTags) + ", not " + std::to_string(options.tags.size()));
  if (!(options.cost_seconds >= 0)) throw std::invalid_argument("cost_seconds: must be a number, and not negative");
}

tensor::ValueHead head_of(const AddOptions& options, bool negative) {
  require_valid(options);
  tensor::ValueHead head{.as_of = options.as_of, .fresh_for = options.time_to_live, .negative = negative};
  for (const std::string& tag : options.tags) head.tags.push_back(tensor::tag_id(tag));
  return head;
}

TensorCache::Impl::Impl(std::shared_ptr<tensor::Shared> store, const std::string& name, std::uint64_t capacity_entries)
    : shared(std::move(store)), limit(capacity_entries) {
  if (name.size() > kMaxNameBytes) throw std::invalid_argument("name: longer than " + std::to_string(kMaxNameBytes) + " bytes");
  if (!name.empty()) {
    space = KeyBuilder("tensor-cache/1").field("name", name).build();
    std::memcpy(&owner, space.bytes.data(), sizeof owner);
    shared->cache.name_owner(owner, name);
  }
  ++shared->caches;
}

Key TensorCache::Impl::in_store(const Key& key) const {
  Key mixed;
  for (std::size_t i = 0; i < mixed.bytes.size(); ++i) mixed.bytes[i] = key.bytes[i] ^ space.bytes[i];
  return mixed;
}

const TensorCache::Impl::ValuePtr& TensorCache::Impl::unavailable() {
  static const ValuePtr value = [] {
    auto made = std::make_shared<tensor::StoredValue>();
    made->unavailable = true;
    return made;
  }();
  return value;
}

TensorCache::Impl::Found TensorCache::Impl::find_value(const Key& key) {
  Lookup lookup = shared->cache.look_up(key);
  if (lookup.unavailable) return {unavailable()};
  Handle handle = std::move(lookup.value);
  if (!handle) return {};
  auto value = tensor::decode(handle.bytes());
  if (!value || shared->tags->is_gone(value->head)) return {nullptr, true};
  value->stale = value->head.fresh_for.count() > 0 && handle.age() >= value->head.fresh_for;
  value->handle = std::move(handle);
  shared->see(value->head.version);
  return {std::make_shared<const tensor::StoredValue>(std::move(*value))};
}

TensorCache::Impl::ValuePtr TensorCache::Impl::read_or_confirm_miss(const Key& key) {
  ValuePtr value = read_unlocked(key);
  if (!value) {
    const std::lock_guard lock(stripe(key));
    Found found;
    if (shared->cache.contains(key)) found = find_value(key);
    if (found.invalidated) shared->cache.remove(key);
    value = std::move(found.value);
    // A value on disk may not fit into memory at the moment.
    if (!value && limit.is_set() && !shared->cache.contains(key)) limit.erase(key);
  }
  if (value && value != unavailable() && limit.touch(key)) trim_entries();
  return value;
}

std::optional<tensor::ValueHead> TensorCache::Impl::head(const Key& key) const {
  std::array<std::byte, tensor::kMaxHeadBytes> bytes;
  const std::optional<std::size_t> read = shared->cache.head(key, bytes);
  std::optional<tensor::ValueHead> head = read ? tensor::decode_head(std::span(bytes).first(*read)) : std::nullopt;
  return head && !shared->tags->is_gone(*head) ? std::move(head) : std::nullopt;
}

Hit TensorCache::Impl::probe(const Key& key) {
  const auto count = [](std::atomic<std::uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); };
  ValuePtr value = read_or_confirm_miss(key);
  if (value) count(value == unavailable() ? counters.unavailable : counters.hits);
  if (value && value->stale) count(counters.stale_hits);
  if (value && value->head.negative) count(counters.negative_hits);
  return Hit(std::move(value));
}

Hit TensorCache::Impl::get(const Key& key) {
  Hit hit = probe(key);
  if (hit.version() == 0) counters.misses.fetch_add(1, std::memory_order_relaxed);
  return hit;
}

// Reserves space for the value and writes its bytes there.
Reservation TensorCache::Impl::prepare(const Key& key, const tensor::Encoder& encoder, const AddOptions& options, bool urgent) {
  Reservation reservation = shared->cache.reserve(key, encoder.bytes(), put_options(owner, options, urgent));
  if (reservation) encoder.write(reservation.bytes());
  return reservation;
}

WriteResult TensorCache::Impl::commit_locked(const Key& key, Reservation reservation, tensor::Encoder& encoder) {
  const std::uint64_t version = shared->next_version();
  if (reservation) {
    limit.insert(key);
    encoder.set_version(version, reservation.bytes());
  }
  const PutStatus status = shared->cache.commit(std::move(reservation));
  if (status == PutStatus::kStored) return {WriteStatus::kStored, version};
  if (!shared->cache.contains(key)) limit.erase(key);
  return {status == PutStatus::kTooLarge ? WriteStatus::kTooLarge : WriteStatus::kNoSpace, 0};
}

WriteResult TensorCache::Impl::write(const Key& key, tensor::Encoder& encoder, const AddOptions& options, std::optional<std::uint64_t> only_if) {
  WriteResult result;
  Reservation reservation = only_if ? Reservation() : prepare(key, encoder, options);
  {
    const std::shared_lock whole(clearing);
    const std::lock_guard lock(stripe(key));
    // Checks before space for the new value is reserved, which may evict the stored one.
    if (const auto refused = only_if ? conflict(key, *only_if) : std::nullopt) {
      result = *refused;
    } else {
      if (only_if) reservation = prepare(key, encoder, options, true);
      result = commit_locked(key, std::move(reservation), encoder);
    }
  }
  trim_entries();
  auto& counter = result ? counters.writes : result.status == WriteStatus::kConflict ? counters.conflicts : counters.rejected_writes;
  counter.fetch_add(1, std::memory_order_relaxed);
  return result;
}

std::optional<WriteResult> TensorCache::Impl::conflict(const Key& key, std::uint64_t only_if) {
  // The head suffices to see a conflict with a large value on disk.
  if (const auto there = head(key); there && there->version != only_if) return WriteResult{WriteStatus::kConflict, there->version};
  const ValuePtr there = read_unlocked(key);
  if (there == unavailable()) return WriteResult{WriteStatus::kUnavailable, 0};
  const std::uint64_t version = there ? there->head.version : 0;
  if (version != only_if) return WriteResult{WriteStatus::kConflict, version};
  return std::nullopt;
}

void TensorCache::Impl::trim_entries() {
  while (const std::optional<Key> key = limit.take_excess()) {
    const std::lock_guard lock(stripe(*key));
    if (limit.contains(*key)) continue;   // used again meanwhile
    if (shared->cache.remove(*key)) counters.entry_limit_evictions.fetch_add(1, std::memory_order_relaxed);
  }
}

}   // namespace tensorcache
