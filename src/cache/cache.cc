#include "tensorcache/cache.h"

#include <cstring>
#include <stdexcept>
#include <utility>

#include "cache/flights.h"
#include "policy/policy.h"
#include "tier/memory_tier.h"

namespace tensorcache {

namespace {

std::shared_ptr<detail::MemoryTier> make_tier(CacheOptions options) {
  auto policy = make_policy(options.policy);
  if (!policy) {
    std::string message = "policy: \"" + options.policy + "\" is unknown; there are";
    for (const std::string_view name : policy_names()) message += " \"" + std::string(name) + "\"";
    throw std::invalid_argument(message);
  }
  if (!options.clock) throw std::invalid_argument("clock: must not be empty");
  return std::make_shared<detail::MemoryTier>(options.capacity_bytes, std::move(policy), std::move(options.clock));
}

}   // namespace

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kOther:
      return "other";
    case Kind::kAnswer:
      return "answer";
    case Kind::kPrefixBlock:
      return "prefix-block";
    case Kind::kTensor:
      return "tensor";
  }
  return "unknown";
}

std::string_view put_status_name(PutStatus status) {
  switch (status) {
    case PutStatus::kStored:
      return "stored";
    case PutStatus::kAlreadyStored:
      return "already-stored";
    case PutStatus::kTooLarge:
      return "too-large";
    case PutStatus::kNoSpace:
      return "no-space";
    case PutStatus::kParentMissing:
      return "parent-missing";
  }
  return "unknown";
}

Cache::Cache(CacheOptions options) : tier_(make_tier(std::move(options))), flights_(std::make_unique<Flights>()) {}

// Handles that outlive the cache keep their own values, not all of them.
Cache::~Cache() { tier_->clear(std::nullopt); }

PutStatus Cache::put(const Key& key, std::span<const std::byte> value, const PutOptions& options) { return tier_->put(key, value, options); }

PutStatus Cache::put(const Key& key, std::string_view value, const PutOptions& options) { return put(key, std::as_bytes(std::span(value)), options); }

Draft Cache::reserve(const Key& key, std::size_t value_bytes, const PutOptions& options) { return tier_->reserve(key, value_bytes, options); }

PutStatus Cache::commit(Draft draft) { return tier_->commit(std::move(draft)); }

Handle Cache::get(const Key& key) { return tier_->get(key, detail::MemoryTier::Count::kYes); }

std::vector<Handle> Cache::match(std::span<const Key> chain) { return tier_->match(chain); }

std::size_t Cache::peek(std::span<const Key> chain) const { return tier_->peek(chain); }

bool Cache::contains(const Key& key) const { return tier_->contains(key); }

bool Cache::remove(const Key& key) { return tier_->remove(key); }

std::uint64_t Cache::clear() { return tier_->clear(std::nullopt); }

std::uint64_t Cache::clear(std::uint64_t owner) { return tier_->clear(owner); }

Handle Cache::get_or_compute(const Key& key, const Compute& compute, const PutOptions& options) {
  Handle hit = get(key);
  return hit ? std::move(hit) : flights_->join(*tier_, key, compute, options);
}

void Cache::resize(std::uint64_t capacity_bytes) { tier_->resize(capacity_bytes); }

Stats Cache::stats() const { return tier_->stats(); }

Stats Cache::stats(std::uint64_t owner) const { return tier_->stats(owner); }

std::vector<EntryInfo> Cache::list(std::optional<std::uint64_t> owner, std::size_t limit) const { return tier_->list(owner, limit); }

}   // namespace tensorcache
