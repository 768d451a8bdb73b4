#include "tensorcache/cache.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "base/core/call_back.h"
#include "store/cache/flights.h"
#include "store/cache/lower.h"
#include "store/policy/policy.h"
#include "store/memory/memory_tier.h"

namespace tensorcache {

namespace {

constexpr std::chrono::seconds kLastWrites{5};

std::shared_ptr<memory::MemoryTier> make_tier(CacheOptions options) {
  auto policy = policy::make_policy(options.policy);
  if (!policy) {
    std::string message = "policy: \"" + options.policy + "\" is unknown; there are";
    for (const policy::PolicyInfo& info : policy::policies()) message += " \"" + std::string(info.name) + "\"";
    throw std::invalid_argument(message);
  }
  if (!options.clock) throw std::invalid_argument("clock: must not be empty");
  using Admission = memory::MemoryTier::Admission;
  return memory::MemoryTier::make(options.capacity_bytes, std::move(policy), std::move(options.clock),
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

namespace {

void check(const Hints& hints) {
  if (hints.priority >= 0 && hints.priority <= Hints::kHighestPriority) return;
  throw std::invalid_argument("hints.priority: " + std::to_string(hints.priority) + " is out of range: it must be from 0 to " +
                              std::to_string(Hints::kHighestPriority));
}

void check(const PutOptions& options) {
  check(options.hints);
  if (static_cast<std::size_t>(options.kind) >= kKindCount) throw std::invalid_argument("kind: is none of Kind's values");
  if (!(options.cost_seconds >= 0)) throw std::invalid_argument("cost_seconds: must be a number, and not negative");
}

}   // namespace

Cache::Cache(CacheOptions options) : flights_(std::make_unique<Flights>()) {
  const std::optional<DiskOptions> disk = options.disk;
  tier_ = make_tier(std::move(options));
  if (disk) lower_ = std::make_unique<Lower>(*disk, tier_);
}

// With all of it still there, as callbacks of when_flushed() may use it.
Cache::~Cache() { static_cast<void>(close(kLastWrites)); }

PutStatus Cache::put(const Key& key, std::span<const std::byte> value, const PutOptions& options) {
  check(options);
  if (!lower_) return tier_->put(key, value, options);
  // Values do not change, and it may have expired: only reading it tells.
  if (!options.replaces && !tier_->contains(key) && lower_->disk.contains(key)) {
    const Lookup there = lower_->loader.fetch(key);
    if (there.value || there.unavailable) return PutStatus::kAlreadyStored;
  }
  Handle stored;
  return put(key, value, options, &stored);
}

PutStatus Cache::put(const Key& key, std::string_view value, const PutOptions& options) { return put(key, std::as_bytes(std::span(value)), options); }

Reservation Cache::reserve(const Key& key, std::size_t value_bytes, const PutOptions& options) {
  check(options);
  return tier_->reserve(key, value_bytes, options);
}

PutStatus Cache::commit(Reservation draft) {
  if (!lower_) return tier_->commit(std::move(draft));
  Handle stored;
  return commit(std::move(draft), &stored);
}

PutStatus Cache::commit(Reservation draft, Handle* pinned) {
  const bool replaces = lower_ && draft && draft.replaces_;
  const PutStatus status = replaces ? lower_->replace(std::move(draft), pinned) : tier_->commit(std::move(draft), pinned);
  if (status == PutStatus::kStored && lower_) lower_->write(*pinned);
  return status;
}

PutStatus Cache::put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned) {
  Lookup parent;   // pinned until the value is stored behind it
  if (lower_ && options.parent) parent = look_up(*options.parent, Tiers::kAll, false);
  if (!options.replaces) {
    const PutStatus status = tier_->put(key, value, options, pinned);
    if (status == PutStatus::kStored && lower_) lower_->write(*pinned);
    return status;
  }
  Reservation draft = reserve(key, value.size(), options);
  if (draft && !value.empty()) std::memcpy(draft.bytes().data(), value.data(), value.size());
  return commit(std::move(draft), pinned);
}

Handle Cache::get(const Key& key, Tiers tiers) {
  if (!lower_) return tier_->get(key, memory::MemoryTier::Count::kYes);
  return look_up(key, tiers, true).value;
}

Lookup Cache::look_up(const Key& key, Tiers tiers) { return look_up(key, tiers, true); }

Lookup Cache::look_up(const Key& key, Tiers tiers, bool counts) {
  using Count = memory::MemoryTier::Count;
  const bool both = lower_ && tiers == Tiers::kAll;
  const std::uint64_t changes = both ? lower_->loader.changes() : 0;
  Handle handle = tier_->get(key, counts ? Count::kYes : Count::kNo);
  if (handle || !both) return {std::move(handle), false};
  return lower_->find(key, changes);
}

PrefixMatch Cache::match(std::span<const Key> chain, Tiers tiers, std::size_t of) {
  if (lower_ && tiers == Tiers::kAll) lower_->loader.load_now(chain);
  return tier_->match(chain, std::max(chain.size(), of));
}

Handle Cache::find(const Key& key) { return tier_->get(key, memory::MemoryTier::Count::kHits); }

PrefixMatch Cache::pin(std::span<const Key> chain) { return tier_->pin(chain); }

std::optional<std::size_t> Cache::pin_next(PrefixMatch& run, std::span<const Key> keys) { return tier_->pin_next(run, keys); }

void Cache::use(const PrefixMatch& run, std::size_t of) { tier_->use(run, std::max(run.size(), of)); }

bool Cache::has_lower_tiers() const { return lower_ != nullptr; }

void Cache::demote(std::span<const Key> chain) { tier_->demote(chain); }

void Cache::advise(std::span<const Key> chain, const Hints& hints) {
  check(hints);
  tier_->advise(chain, hints);
}

std::size_t Cache::peek(std::span<const Key> chain, Tiers tiers) const {
  std::size_t run = tier_->peek(chain);
  if (!lower_ || tiers == Tiers::kMemoryOnly) return run;
  // What is in memory may be missing on disk, and the reverse.
  while (run < chain.size()) {
    const std::size_t more = lower_->disk.peek(chain.subspan(run));
    if (more == 0) break;
    run += more;
    run += tier_->peek(chain.subspan(run));
  }
  return run;
}

bool Cache::contains(const Key& key, Tiers tiers) const {
  const bool both = lower_ && tiers == Tiers::kAll;
  const std::uint64_t changes = both ? lower_->loader.changes() : 0;
  return tier_->contains(key) || (both && lower_->contains(key, changes));
}

std::optional<std::size_t> Cache::head(const Key& key, std::span<std::byte> to) const {
  const std::uint64_t changes = lower_ ? lower_->loader.changes() : 0;
  const auto copied = [&](const Handle& handle) {
    const auto value = handle.bytes().first(std::min(handle.bytes().size(), to.size()));
    std::copy(value.begin(), value.end(), to.begin());
    return value.size();
  };
  if (const Handle handle = tier_->get(key, memory::MemoryTier::Count::kNo)) return copied(handle);
  if (!lower_) return std::nullopt;
  if (const auto bytes = lower_->disk.read_head(key, to)) return bytes;
  if (!lower_->contains(key, changes)) return std::nullopt;
  if (const Handle handle = tier_->get(key, memory::MemoryTier::Count::kNo)) return copied(handle);
  return lower_->disk.read_head(key, to);
}

bool Cache::load(std::vector<Key> chain, std::chrono::milliseconds patience, std::function<void()> done) {
  return lower_ && lower_->loader.load(std::move(chain), patience, std::move(done));
}

bool Cache::remove(const Key& key) { return lower_ ? lower_->remove(key) : tier_->remove(key); }

std::uint64_t Cache::clear(const Selection& what) { return lower_ ? lower_->clear(what) : tier_->clear(what); }

std::uint64_t Cache::clear() { return clear(Selection()); }

std::uint64_t Cache::clear(std::uint64_t owner) { return clear(Selection{.owner = owner}); }

Handle Cache::get_or_compute(const Key& key, const Compute& compute, const PutOptions& options) {
  check(options);
  Handle hit = get(key);
  return hit ? std::move(hit) : flights_->join(*this, key, compute, options);
}

void Cache::resize(std::uint64_t capacity_bytes) {
  tier_->resize(capacity_bytes);
  if (lower_) lower_->disk.limit_index(capacity_bytes / Lower::kIndexShare);
}

void Cache::resize_disk(std::uint64_t capacity_bytes) {
  if (lower_) lower_->disk.resize(capacity_bytes);
}

bool Cache::flush(std::chrono::milliseconds time) {
  if (!lower_) return true;
  const bool dropped = lower_->dropped();
  return lower_->disk.flush(time) && !dropped;
}

bool Cache::close(std::chrono::milliseconds time) {
  if (lower_) {
    nothing_comes_back_ = lower_->disk.close(time);
    lower_.reset();
  }
  return nothing_comes_back_;
}

void Cache::when_flushed(std::function<void(bool)> done) {
  if (lower_) {
    lower_->disk.when_written(std::move(done));
  } else {
    call_back(done, true);
  }
}

void Cache::name_owner(std::uint64_t owner, const std::string& name) {
  if (lower_) lower_->disk.name_owner(owner, name);
}

void Cache::name_source(std::uint32_t source, const std::string& name) {
  if (lower_) lower_->disk.name_source(source, name);
}

std::vector<std::uint32_t> Cache::sources_named(const std::string& name) const {
  std::vector<std::uint32_t> sources;
  if (!lower_) return sources;
  for (const std::uint64_t source : lower_->disk.sources_named(name)) sources.push_back(static_cast<std::uint32_t>(source));
  return sources;
}

void Cache::account_file(const std::string& name, std::uint64_t bytes) {
  if (lower_) lower_->disk.account_sidecar(name, bytes);
}

Stats Cache::stats() const { return tier_->stats(); }

Stats Cache::stats(std::uint64_t owner) const { return tier_->stats(owner); }

DiskStats Cache::disk_stats() const {
  if (!lower_) return {};
  DiskStats stats = lower_->disk.stats();
  stats.skipped_loads = lower_->loader.skipped();
  stats.late_loads = lower_->loader.late();
  stats.unavailable_lookups = lower_->unavailable();
  return stats;
}

std::vector<EntryInfo> Cache::list(std::optional<std::uint64_t> owner, std::size_t limit) const { return tier_->list(owner, limit); }

}   // namespace tensorcache
