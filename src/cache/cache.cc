#include "tensorcache/cache.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "cache/flights.h"
#include "cache/lower.h"
#include "policy/policy.h"
#include "tier/memory_tier.h"

namespace tensorcache {

namespace {

std::shared_ptr<detail::MemoryTier> make_tier(CacheOptions options) {
  auto policy = make_policy(options.policy);
  if (!policy) {
    std::string message = "policy: \"" + options.policy + "\" is unknown; there are";
    for (const PolicyInfo& info : policies()) message += " \"" + std::string(info.name) + "\"";
    throw std::invalid_argument(message);
  }
  if (!options.clock) throw std::invalid_argument("clock: must not be empty");
  using Admission = detail::MemoryTier::Admission;
  return detail::MemoryTier::make(options.capacity_bytes, std::move(policy), std::move(options.clock),
                                  options.disk ? Admission::kAll : Admission::kSelective);
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

Cache::Cache(CacheOptions options) : flights_(std::make_unique<Flights>()) {
  const std::optional<DiskOptions> disk = options.disk;
  tier_ = make_tier(std::move(options));
  if (disk) lower_ = std::make_unique<Lower>(*disk, tier_);
}

Cache::~Cache() = default;

PutStatus Cache::put(const Key& key, std::span<const std::byte> value, const PutOptions& options) {
  if (!lower_) return tier_->put(key, value, options);
  // Values do not change, and it may have expired: only reading it tells.
  if (!options.replaces && !tier_->contains(key) && lower_->disk.contains(key)) {
    lower_->loader.load_now(std::span(&key, 1));
    if (!tier_->contains(key) && lower_->disk.contains(key)) return PutStatus::kAlreadyStored;   // there, with no room here
  }
  if (options.parent && !tier_->contains(*options.parent) && lower_->disk.contains(*options.parent)) {
    lower_->loader.load_now(std::span(&*options.parent, 1));
  }
  if (options.replaces) {
    Draft draft = reserve(key, value.size(), options);
    if (draft && !value.empty()) std::memcpy(draft.bytes().data(), value.data(), value.size());
    return commit(std::move(draft));
  }
  Handle stored;
  const PutStatus status = tier_->put(key, value, options, &stored);
  if (status == PutStatus::kStored) lower_->write(stored);
  return status;
}

PutStatus Cache::put(const Key& key, std::string_view value, const PutOptions& options) { return put(key, std::as_bytes(std::span(value)), options); }

Draft Cache::reserve(const Key& key, std::size_t value_bytes, const PutOptions& options) { return tier_->reserve(key, value_bytes, options); }

PutStatus Cache::commit(Draft draft) {
  if (!lower_) return tier_->commit(std::move(draft));
  Handle stored;
  PutStatus status = PutStatus::kNoSpace;
  if (draft && draft.replaces_) {
    const Key key = detail::MemoryTier::key_of(draft);
    lower_->loader.forgetting([&] {
      static_cast<void>(lower_->disk.remove(key));
      status = tier_->commit(std::move(draft), &stored);
      return true;
    });
  } else {
    status = tier_->commit(std::move(draft), &stored);
  }
  if (status == PutStatus::kStored) lower_->write(stored);
  return status;
}

Handle Cache::get(const Key& key, Look look) {
  if (!lower_ || look == Look::kMemory) return tier_->get(key, detail::MemoryTier::Count::kYes);
  Handle handle = tier_->get(key, detail::MemoryTier::Count::kYes);
  if (handle || !lower_->disk.contains(key)) return handle;
  lower_->loader.load_now(std::span(&key, 1));
  return tier_->get(key, detail::MemoryTier::Count::kNo);
}

Run Cache::match(std::span<const Key> chain, Look look, std::size_t of) {
  if (lower_ && look == Look::kEverywhere) lower_->loader.load_now(chain);
  return tier_->match(chain, std::max(chain.size(), of));
}

void Cache::demote(std::span<const Key> chain) { tier_->demote(chain); }

void Cache::advise(std::span<const Key> chain, const Hints& hints) { tier_->advise(chain, hints); }

std::size_t Cache::peek(std::span<const Key> chain, Look look) const {
  std::size_t run = tier_->peek(chain);
  if (!lower_ || look == Look::kMemory) return run;
  // What is in memory may be missing on disk, and the reverse.
  while (run < chain.size()) {
    const std::size_t more = lower_->disk.peek(chain.subspan(run));
    if (more == 0) break;
    run += more;
    run += tier_->peek(chain.subspan(run));
  }
  return run;
}

bool Cache::contains(const Key& key, Look look) const {
  return tier_->contains(key) || (lower_ && look == Look::kEverywhere && lower_->disk.contains(key));
}

bool Cache::load(std::vector<Key> chain, std::chrono::milliseconds patience, std::function<void()> done) {
  return lower_ && lower_->loader.load(std::move(chain), patience, std::move(done));
}

bool Cache::remove(const Key& key) {
  if (!lower_) return tier_->remove(key);
  return lower_->loader.forgetting([&] {
    const bool on_disk = lower_->disk.remove(key);
    return tier_->remove(key) || on_disk;
  });
}

std::uint64_t Cache::clear_both(std::optional<std::uint64_t> owner) {
  if (!lower_) return tier_->clear(owner);
  // Nearly all that is in memory is on disk too.
  return lower_->loader.forgetting([&] { return std::max(lower_->disk.clear(owner), tier_->clear(owner)); });
}

std::uint64_t Cache::clear() { return clear_both(std::nullopt); }

std::uint64_t Cache::clear(std::uint64_t owner) { return clear_both(owner); }

Handle Cache::get_or_compute(const Key& key, const Compute& compute, const PutOptions& options) {
  Handle hit = get(key);
  return hit ? std::move(hit) : flights_->join(*this, key, compute, options);
}

void Cache::resize(std::uint64_t capacity_bytes) { tier_->resize(capacity_bytes); }

void Cache::resize_disk(std::uint64_t capacity_bytes) {
  if (lower_) lower_->disk.resize(capacity_bytes);
}

bool Cache::flush(std::chrono::milliseconds time) {
  if (!lower_) return true;
  const bool dropped = lower_->dropped();
  return lower_->disk.flush(time) && !dropped;
}

void Cache::when_flushed(std::function<void(bool)> done) {
  if (lower_) {
    lower_->disk.when_written(std::move(done));
  } else {
    done(true);
  }
}

void Cache::name_owner(std::uint64_t owner, const std::string& name) {
  if (lower_) lower_->disk.name_owner(owner, name);
}

void Cache::name_source(std::uint32_t source, const std::string& name) {
  if (lower_) lower_->disk.name_source(source, name);
}

Stats Cache::stats() const { return tier_->stats(); }

Stats Cache::stats(std::uint64_t owner) const { return tier_->stats(owner); }

DiskStats Cache::disk_stats() const {
  if (!lower_) return {};
  DiskStats stats = lower_->disk.stats();
  stats.skipped_loads = lower_->loader.skipped();
  stats.late_loads = lower_->loader.late();
  return stats;
}

std::vector<EntryInfo> Cache::list(std::optional<std::uint64_t> owner, std::size_t limit) const { return tier_->list(owner, limit); }

}   // namespace tensorcache
