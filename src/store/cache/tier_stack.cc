#include "store/cache/tier_stack.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/core/deadline.h"

namespace tensorcache::cache {
namespace {

using Count = memory::MemoryTier::Count;
using Presence = tier::Presence;

tier::Urgency urgency(bool urgent) { return urgent ? tier::Urgency::kUrgent : tier::Urgency::kNormal; }

constexpr std::chrono::seconds kWaitForRemovals{1};   // of a caller, while a tier has too many queued removals

}   // namespace

TierStack::TierStack(std::shared_ptr<memory::MemoryTier> memory, LowerTiers lower, std::function<std::int64_t()> unix_ms,
                     WriteBehind::OnEvent on_event)
    : memory_(std::move(memory)), lower_(std::move(lower)), write_behind_(*memory_, lower_, changes_, unix_ms, std::move(on_event)) {
  if (lower_.empty()) return;
  loader_ = std::make_unique<Loader>(*memory_, lower_, changes_, std::move(unix_ms),
                                     [this](const Handle& loaded, std::size_t from) { write_behind_.write(loaded, from); });
}

// A lower tier may hold an expired value: only reading it tells. Values are immutable otherwise.
PutStatus TierStack::put(const Key& key, std::span<const std::byte> value, const PutOptions& options) {
  if (lower_.empty() && !options.replaces) return memory_->put(key, value, options);
  if (!options.replaces && is_below(key) && !memory_->contains(key)) {
    const Lookup there = look_up(key, Tiers::kAll, Count::kNo);
    if (there.value || there.unavailable) return PutStatus::kAlreadyStored;
  }
  return store(key, value, options, nullptr);
}

PutStatus TierStack::store(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned) {
  Lookup parent;   // pinned until the value is stored
  if (options.parent && !lower_.empty()) parent = look_up(*options.parent, Tiers::kAll, Count::kNo);
  if (options.replaces) {
    Reservation reservation = memory_->reserve(key, value.size(), options);
    if (reservation && !value.empty()) std::memcpy(reservation.bytes().data(), value.data(), value.size());
    return commit(std::move(reservation), pinned);
  }
  if (lower_.empty()) return memory_->put(key, value, options, pinned);
  Handle stored;
  const PutStatus status = memory_->put(key, value, options, &stored);
  if (status == PutStatus::kStored) write_behind_.write(stored, lower_.size(), urgency(options.urgent));
  if (pinned != nullptr) *pinned = std::move(stored);
  return status;
}

PutStatus TierStack::commit(Reservation reservation, Handle* pinned) {
  if (lower_.empty()) return memory_->commit(std::move(reservation), pinned);
  Handle stored;
  const bool replaces = memory::MemoryTier::replaces(reservation);
  const tier::Urgency urgent = urgency(memory::MemoryTier::is_urgent(reservation));
  const PutStatus status = replaces ? replace(std::move(reservation), &stored) : memory_->commit(std::move(reservation), &stored);
  if (status == PutStatus::kStored) write_behind_.write(stored, lower_.size(), urgent);
  if (pinned != nullptr) *pinned = std::move(stored);
  return status;
}

Lookup TierStack::look_up(const Key& key, Tiers tiers, Count counts) {
  const std::uint64_t changes = changes_.count();
  Handle handle = memory_->get(key, counts);
  if (handle || tiers == Tiers::kMemoryOnly) return {std::move(handle), false};
  return find_below(key, changes);
}

Lookup TierStack::find_below(const Key& key, std::uint64_t changes) {
  if (lower_.empty()) return {};
  bool unknown = false;
  for (std::size_t i = 0; i < lower_.size(); ++i) {
    const Presence presence = lower_[i]->presence(key);
    if (presence == Presence::kStored) return counted(loader_->fetch(key, i));
    unknown = unknown || presence == Presence::kUnknown;
  }
  if (unknown) return counted({Handle(), true});
  // The value may have been promoted, and evicted below, since the memory lookup.
  if (Handle handle = memory_->get(key, Count::kNo)) return {std::move(handle), false};
  if (changes_.is_unchanged_since(changes)) return {};
  // A change, perhaps of this key, was in progress: repeat the lookup while no change is.
  std::size_t at = lower_.size();
  Handle handle = changes_.unchanged([&] {
    Handle found = memory_->get(key, Count::kNo);
    for (std::size_t i = 0; !found && i < lower_.size() && at == lower_.size(); ++i) {
      if (lower_[i]->contains(key)) at = i;
    }
    return found;
  });
  if (handle || at == lower_.size()) return {std::move(handle), false};
  return counted(loader_->fetch(key, at));
}

Lookup TierStack::counted(Lookup lookup) {
  if (lookup.unavailable) unavailable_.fetch_add(1, std::memory_order_relaxed);
  return lookup;
}

bool TierStack::is_below(const Key& key) const {
  return std::any_of(lower_.begin(), lower_.end(), [&](const auto& tier) { return tier->contains(key); });
}

bool TierStack::has_children_below(const Key& key) const {
  return std::any_of(lower_.begin(), lower_.end(), [&](const auto& tier) { return tier->has_children(key); });
}

bool TierStack::contains(const Key& key, Tiers tiers) {
  const std::uint64_t changes = changes_.count();
  if (memory_->contains(key)) return true;
  if (tiers == Tiers::kMemoryOnly || lower_.empty()) return false;
  if (is_below(key) || memory_->contains(key)) return true;
  if (changes_.is_unchanged_since(changes)) return false;
  return changes_.unchanged([&] { return memory_->contains(key) || is_below(key); });
}

// Each tier may hold values that another one lacks.
std::size_t TierStack::peek(std::span<const Key> chain, Tiers tiers) const {
  std::size_t run = memory_->peek(chain);
  if (tiers == Tiers::kMemoryOnly) return run;
  for (bool more = true; more && run < chain.size();) {
    const std::size_t before = run;
    for (const auto& tier : lower_) run += tier->peek(chain.subspan(run));
    more = run > before;
    if (more) run += memory_->peek(chain.subspan(run));
  }
  return run;
}

std::optional<std::size_t> TierStack::head(const Key& key, std::span<std::byte> to) {
  const auto in_memory = [&]() -> std::optional<std::size_t> {
    const Handle handle = memory_->get(key, Count::kNo);
    if (!handle) return std::nullopt;
    const auto value = handle.bytes().first(std::min(handle.bytes().size(), to.size()));
    std::copy(value.begin(), value.end(), to.begin());
    return value.size();
  };
  const auto below = [&]() -> std::optional<std::size_t> {
    for (const auto& tier : lower_) {
      if (const auto bytes = tier->read_head(key, to)) return bytes;
    }
    return std::nullopt;
  };
  if (const auto bytes = in_memory()) return bytes;
  if (const auto bytes = below()) return bytes;
  if (lower_.empty() || !contains(key, Tiers::kAll)) return std::nullopt;   // the value may have moved between the tiers
  if (const auto bytes = in_memory()) return bytes;
  return below();
}

void TierStack::load_now(std::span<const Key> chain) {
  if (loader_) loader_->load_now(chain);
}

bool TierStack::load(std::vector<Key> chain, std::chrono::milliseconds timeout, std::function<void()> done) {
  return loader_ && loader_->load(std::move(chain), timeout, std::move(done));
}

void TierStack::wait_for_room() const {
  for (const auto& tier : lower_) static_cast<void>(tier->wait_for_room(kWaitForRemovals));
}

PutStatus TierStack::replace(Reservation reservation, Handle* stored) {
  const Key key = memory::MemoryTier::key_of(reservation);
  wait_for_room();
  return changes_.changing([&] {
    if (has_children_below(key)) return PutStatus::kAlreadyStored;
    const PutStatus status = memory_->commit(std::move(reservation), stored);
    if (status != PutStatus::kStored) return status;
    write_behind_.forget(key);
    try {
      for (const auto& tier : lower_) static_cast<void>(tier->remove(key));
    } catch (...) {   // otherwise the old value is found again once the new one is evicted from memory
      static_cast<void>(memory_->remove(key));
      throw;
    }
    return status;
  });
}

bool TierStack::remove(const Key& key) {
  if (lower_.empty()) return memory_->remove(key);
  wait_for_room();
  return changes_.changing([&] {
    bool removed = false;
    for (const auto& tier : lower_) removed = tier->remove(key) || removed;
    removed = memory_->remove(key, [this](const Key& gone) { write_behind_.forget(gone); }) || removed;
    write_behind_.forget(key);
    return removed;
  });
}

std::uint64_t TierStack::clear(const Selection& what) {
  if (lower_.empty()) return memory_->clear(what);
  return changes_.clearing([&] {
    std::uint64_t in_memory = 0;
    const std::uint64_t below = clear_from(0, what, &in_memory);
    return std::max(below, in_memory);   // nearly all entries in memory are also below
  });
}

// Clears from the lowest tier up to memory without excluding changes all the time. Once a tier is
// cleared, only promotions that had started come from it; once memory is cleared, only writes that
// had started go down, and each tier, whose clear() has not returned, clears these as well.
std::uint64_t TierStack::clear_from(std::size_t tier, const Selection& what, std::uint64_t* in_memory) {
  const auto let_pass = [this] { changes_.unchanged([] {}); };
  if (tier == lower_.size()) {
    let_pass();
    *in_memory = memory_->clear(what, [this](const Key& gone) { write_behind_.forget(gone); });
    let_pass();
    return *in_memory;
  }
  std::uint64_t above = 0;
  const std::uint64_t here = lower_[tier]->clear(what, [&] { above = clear_from(tier + 1, what, in_memory); });
  return std::max(here, above);
}

void TierStack::resize(std::uint64_t capacity_bytes) {
  memory_->resize(capacity_bytes);
  for (const auto& tier : lower_) tier->follow_memory(capacity_bytes);
}

bool TierStack::close(std::chrono::milliseconds time) {
  bool nothing_comes_back = true;
  const auto deadline = deadline_after(time);
  write_behind_.stop(time / 2);
  for (const auto& tier : lower_) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    nothing_comes_back = tier->close(std::max(left, std::chrono::milliseconds(0))) && nothing_comes_back;
  }
  loader_.reset();
  lower_.clear();
  return nothing_comes_back;
}

TierStack::TransferStats TierStack::transfer_stats() const {
  TransferStats stats;
  if (loader_) stats = {.skipped = loader_->skipped(), .late = loader_->late()};
  stats.unavailable = unavailable_.load(std::memory_order_relaxed);
  stats.waiting_bytes = write_behind_.waiting_bytes();
  stats.lost_writes = write_behind_.lost();
  return stats;
}

}   // namespace tensorcache::cache
