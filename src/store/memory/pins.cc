// Who holds an entry, and what the policy is told of its use.
#include <algorithm>
#include <limits>
#include <utility>

#include "store/memory/memory_tier.h"

namespace tensorcache::memory {

thread_local int MemoryTier::MakingRoom::depth = 0;

namespace {

// Fewer entries than these are kept in the exact order of their use.
constexpr std::size_t kLazyFromEntries = 1024;

// Where readers only note ticks, their clock moves on once in so many insertions or uses told: each time, all of them wait for it.
constexpr std::uint32_t kTicksPerMove = 16;

}   // namespace

bool MemoryTier::drop(Entry& entry, std::uint64_t unit) {
  using Dropped = EntryState::Dropped;
  Dropped dropped = entry.state.drop(unit);
  if (dropped != Dropped::kMustRelink) return dropped == Dropped::kLastOfGone;
  // While the reference still holds it: afterwards the entry may be freed at any time, and this tier with it.
  let_live(1);
  do {
    unpark(entry);
    dropped = entry.state.drop(unit);
  } while (dropped == Dropped::kMustRelink);
  // Who made the budget smaller may have found nothing that could go but this.
  if (budget_.over() && MakingRoom::depth == 0) trim();
  let_live(-1);
  return dropped == Dropped::kLastOfGone;
}

std::int64_t MemoryTier::free_chain(Entry* entry, Spare spare) {
  std::int64_t blocks = 0;
  for (; entry != nullptr; ++blocks) {
    Entry* parent = entry->above();
    free_memory(entry, spare);
    entry = parent != nullptr && drop(*parent, kChild) ? parent : nullptr;
  }
  return blocks;
}

void MemoryTier::publish_clock_mode() {
  const bool lazy = linked_ >= kLazyFromEntries && policy_->reads_ticks();
  if (published_.lazy.load(std::memory_order_relaxed) != lazy) published_.lazy.store(lazy, std::memory_order_relaxed);
}

void MemoryTier::end_kept() {
  if (const std::uint64_t bytes = policy_->take_back(); bytes != 0) budget_.give_back(bytes);
}

std::uint32_t MemoryTier::next_tick() {
  const std::uint32_t shown = published_.ticks.load(std::memory_order_relaxed);
  if (++unpublished_ticks_ < kTicksPerMove && published_.lazy.load(std::memory_order_relaxed)) return shown + unpublished_ticks_;
  return published_.ticks.fetch_add(unpublished_ticks_, std::memory_order_relaxed) + std::exchange(unpublished_ticks_, 0);
}

void MemoryTier::unpark(Entry& entry) {
  const std::lock_guard lock(policy_mutex_);
  if (entry.has(kParked)) put_back(entry);
}

// Restored first, then relinked in one step: unindex() looks at both flags without the policy's lock and must find one of them.
void MemoryTier::put_back(Entry& entry) {
  policy_->restore(entry);
  entry.state.relink();
  ++linked_;
}

void MemoryTier::flush_uses(Epochs::Slots& left) {
  left = epochs_.collect([this](const Use& use) { apply_use(use); }, left);
}

void MemoryTier::flush_all_uses() {
  Epochs::Slots left = Epochs::kAllSlots;
  flush_uses(left);
}

void MemoryTier::flush_own_uses() {
  Epochs::Slots left = Epochs::own_slot();
  flush_uses(left);
}

void MemoryTier::flush_uses_if_free() {
  // A touch is worth less than waiting for whoever is evicting just now.
  const std::unique_lock lock(policy_mutex_, std::try_to_lock);
  if (lock) flush_own_uses();
}

void MemoryTier::apply_use(const Use& use) {
  if (use.chain == 0) {
    touch(*use.entry);
    return;
  }
  policy_->begin({.values = use.chain, .hits = use.run});
  Entry* entry = use.entry;
  for (std::uint32_t i = 0; i < use.run && entry != nullptr; ++i, entry = entry->above()) {
    entry->hits.store(entry->hits.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    touch(*entry);
  }
  policy_->end_run();
}

void MemoryTier::touch(Entry& entry) {
  entry.set_last_use(next_tick());
  if (entry.has(kParked)) put_back(entry);
  if (entry.has(kLinked)) policy_->touch(entry);
}

Entry* MemoryTier::hold_parent(const Key& key) {
  const Epochs::Section section(epochs_);
  Entry* parent = find(key);
  if (parent == nullptr || is_expired(*parent) || parent->state.children() >= kMaxChildren) return nullptr;
  return parent->state.acquire(kChild) ? parent : nullptr;
}

Handle MemoryTier::pin(Entry& entry) {
  entry.state.pin();
  return {this, &entry};
}

Handle MemoryTier::share(const Handle& handle) { return pin(*handle.entry_); }

// A smaller budget waits for what is pinned. This tier lives on with the entry at least.
void MemoryTier::unpin(Entry* entry) {
  if (!budget_.over()) {
    if (entry->state.drop_pin()) return;
    if (drop(*entry, kPin)) reclaim(entry);
    return;
  }
  let_live(1);
  if (drop(*entry, kPin)) reclaim(entry);
  trim();
  let_live(-1);
}

void MemoryTier::discard(Entry* draft) {
  let_live(1);
  reclaim(draft);
  if (budget_.over()) trim();
  let_live(-1);
}

PrefixMatch MemoryTier::pin(std::span<const Key> chain) {
  PrefixMatch run;
  Found found;
  {
    const Epochs::Section section(epochs_);
    do {
      found = longest(chain);
    } while (found.last != nullptr && !found.last->state.acquire(kPin));
    if (found.last != nullptr) run = PrefixMatch(Handle(this, found.last), found.length);
  }
  if (found.expired) expire(chain[found.length]);
  return run;
}

std::optional<std::size_t> MemoryTier::pin_next(PrefixMatch& run, std::span<const Key> keys) {
  Handle next;
  std::size_t at = 0;
  {
    const Epochs::Section section(epochs_);
    for (; at < keys.size() && !next; ++at) {
      Entry* entry = find(keys[at]);
      const bool behind = entry != nullptr && (run.empty() ? !entry->has(kChained) : entry->above() == run.last_.entry_);
      if (behind && !is_expired(*entry) && entry->state.acquire(kPin)) next = Handle(this, entry);
    }
  }
  if (!next) return std::nullopt;
  run = PrefixMatch(std::move(next), run.size() + 1);   // its parent's pin goes outside the section
  return at - 1;
}

// A note is collected before what it names is freed only if it was not gone in this section: a second pin tells.
void MemoryTier::use(const PrefixMatch& run, std::size_t of) {
  if (of == 0) return;
  constexpr std::size_t kMost = std::numeric_limits<std::uint32_t>::max();
  Handle held;
  bool full = false;
  {
    Epochs::Section section(epochs_);
    Entry* last = run.last_.entry_;
    if (last != nullptr && last->state.acquire(kPin)) held = Handle(this, last);
    section.count(run.size(), of - run.size());
    const std::size_t length = held ? run.size() : 0;
    full = section.note({held.entry_, static_cast<std::uint32_t>(std::min(length, kMost)), static_cast<std::uint32_t>(std::min(of, kMost))});
  }
  if (full) flush_uses_if_free();
}

}   // namespace tensorcache::memory
