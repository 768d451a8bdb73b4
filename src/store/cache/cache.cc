#include "tensorcache/cache.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "base/core/call_back.h"
#include "store/cache/flights.h"
#include "store/cache/make_disk_tier.h"
#include "store/cache/tier_stack.h"
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
  if (static_cast<std::size_t>(options.kind) >= kKindCount) throw std::invalid_argument("kind: is not a value of Kind");
  if (!(options.cost_seconds >= 0)) throw std::invalid_argument("cost_seconds: must be a number, and not negative");
}

}   // namespace

Cache::Cache(CacheOptions options) : flights_(std::make_unique<Flights>()) {
  const std::optional<DiskOptions> disk = options.disk;
  tier_ = make_tier(std::move(options));
  cache::LowerTiers lower;
  if (disk) {
    auto tier = cache::make_disk_tier(*disk, *tier_);
    disk_ = tier.get();
    lower.push_back(std::move(tier));
  }
  tiers_ = std::make_unique<cache::TierStack>(tier_, std::move(lower), disk ? cache::wall_clock(*disk) : nullptr, disk ? disk->on_event : nullptr);
}

// Callbacks of when_flushed() may use the cache: all members still exist here.
Cache::~Cache() { static_cast<void>(close(kLastWrites)); }

PutStatus Cache::put(const Key& key, std::span<const std::byte> value, const PutOptions& options) {
  check(options);
  return tiers_->put(key, value, options);
}

PutStatus Cache::put(const Key& key, std::string_view value, const PutOptions& options) { return put(key, std::as_bytes(std::span(value)), options); }

PutStatus Cache::put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned) {
  return tiers_->store(key, value, options, pinned);
}

Reservation Cache::reserve(const Key& key, std::size_t value_bytes, const PutOptions& options) {
  check(options);
  return tier_->reserve(key, value_bytes, options);
}

PutStatus Cache::commit(Reservation reservation) { return tiers_->commit(std::move(reservation), nullptr); }

// Without lower tiers a hit goes straight to the memory tier; it takes 30 to 70 ns.
Handle Cache::get(const Key& key, Tiers tiers) {
  if (!tiers_->has_lower_tiers()) return tier_->get(key, memory::MemoryTier::Count::kYes);
  return look_up(key, tiers).value;
}

Lookup Cache::look_up(const Key& key, Tiers tiers) { return tiers_->look_up(key, tiers, memory::MemoryTier::Count::kYes); }

PrefixMatch Cache::match(std::span<const Key> chain, Tiers tiers, std::size_t of) {
  if (tiers == Tiers::kAll) tiers_->load_now(chain);
  return tier_->match(chain, std::max(chain.size(), of));
}

Handle Cache::find(const Key& key) { return tier_->get(key, memory::MemoryTier::Count::kHits); }

PrefixMatch Cache::pin(std::span<const Key> chain) { return tier_->pin(chain); }

std::optional<std::size_t> Cache::pin_next(PrefixMatch& run, std::span<const Key> keys) { return tier_->pin_next(run, keys); }

void Cache::use(const PrefixMatch& run, std::size_t of) { tier_->use(run, std::max(run.size(), of)); }

bool Cache::has_lower_tiers() const { return tiers_->has_lower_tiers(); }

void Cache::demote(std::span<const Key> chain) { tier_->demote(chain); }

void Cache::advise(std::span<const Key> chain, const Hints& hints) {
  check(hints);
  tier_->advise(chain, hints);
}

std::size_t Cache::peek(std::span<const Key> chain, Tiers tiers) const { return tiers_->peek(chain, tiers); }

bool Cache::contains(const Key& key, Tiers tiers) const { return tiers_->contains(key, tiers); }

std::optional<std::size_t> Cache::head(const Key& key, std::span<std::byte> to) const { return tiers_->head(key, to); }

bool Cache::load(std::vector<Key> chain, std::chrono::milliseconds timeout, std::function<void()> done) {
  return tiers_->load(std::move(chain), timeout, std::move(done));
}

bool Cache::remove(const Key& key) { return tiers_->remove(key); }

std::uint64_t Cache::clear(const Selection& what) { return tiers_->clear(what); }

std::uint64_t Cache::clear() { return clear(Selection()); }

std::uint64_t Cache::clear(std::uint64_t owner) { return clear(Selection{.owner = owner}); }

Handle Cache::get_or_compute(const Key& key, const Compute& compute, const PutOptions& options) {
  check(options);
  Handle hit = get(key);
  return hit ? std::move(hit) : flights_->join(*this, key, compute, options);
}

void Cache::resize(std::uint64_t capacity_bytes) { tiers_->resize(capacity_bytes); }

void Cache::resize_disk(std::uint64_t capacity_bytes) {
  if (disk_ != nullptr) disk_->resize(capacity_bytes);
}

bool Cache::flush(std::chrono::milliseconds time) { return tiers_->flush(time); }

bool Cache::close(std::chrono::milliseconds time) {
  if (disk_ != nullptr) nothing_comes_back_ = tiers_->close(time);
  disk_ = nullptr;
  return nothing_comes_back_;
}

void Cache::when_flushed(std::function<void(bool)> done) { tiers_->when_flushed(std::move(done)); }

void Cache::name_owner(std::uint64_t owner, const std::string& name) {
  if (disk_ != nullptr) disk_->name_owner(owner, name);
}

void Cache::name_source(std::uint32_t source, const std::string& name) {
  if (disk_ != nullptr) disk_->name_source(source, name);
}

std::vector<std::uint32_t> Cache::sources_named(const std::string& name) const {
  std::vector<std::uint32_t> sources;
  if (disk_ == nullptr) return sources;
  for (const std::uint64_t source : disk_->sources_named(name)) sources.push_back(static_cast<std::uint32_t>(source));
  return sources;
}

void Cache::account_file(const std::string& name, std::uint64_t bytes) {
  if (disk_ != nullptr) disk_->account_sidecar(name, bytes);
}

Stats Cache::stats() const { return tier_->stats(); }

Stats Cache::stats(std::uint64_t owner) const { return tier_->stats(owner); }

DiskStats Cache::disk_stats() const {
  if (disk_ == nullptr) return {};
  DiskStats stats = disk_->stats();
  const cache::TierStack::TransferStats transfers = tiers_->transfer_stats();
  stats.skipped_loads = transfers.skipped;
  stats.late_loads = transfers.late;
  stats.unavailable_lookups = transfers.unavailable;
  stats.pending_bytes = stats.queued_bytes + transfers.waiting_bytes;
  stats.dropped_puts += transfers.lost_writes;
  return stats;
}

std::vector<EntryInfo> Cache::list(std::optional<std::uint64_t> owner, std::size_t limit) const { return tier_->list(owner, limit); }

}   // namespace tensorcache
