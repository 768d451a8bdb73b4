// Finds and pins values.
#include <algorithm>
#include <limits>
#include <utility>

#include "store/memory/memory_tier.h"

namespace tensorcache::memory {

Handle MemoryTier::get(const Key& key, Count count) {
  const std::uint64_t hits = count == Count::kNo ? 0 : 1, misses = count == Count::kYes ? 1 : 0;
  Handle handle;
  bool expired = false, full = false;
  {
    Epochs::Section section(state_.epochs);
    Entry* entry = nullptr;
    do {
      entry = state_.find(key);
      expired = entry != nullptr && state_.is_expired(*entry);
    } while (entry != nullptr && !expired && !entry->state.acquire(kPin));
    if (entry == nullptr || expired) {
      section.count(0, misses);
    } else {
      handle = Handle(this, entry);
      section.count(hits, 0);
      entry->hits.store(entry->hits.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      full = state_.order.note_use(*entry, section);
    }
  }
  if (full) state_.order.flush_own_if_free();
  if (expired) remover_.expire(key);
  return handle;
}

MemoryTier::Found MemoryTier::longest(std::span<const Key> chain) const {
  Found found;
  std::size_t expired_at = chain.size();
  // Whether the value at `at` is there; then so are all before it.
  const auto reaches = [&](std::size_t at) {
    Entry* entry = state_.find(chain[at]);
    if (entry == nullptr || (at > 0 && !entry->has(kChained))) return false;
    if (state_.is_expired(*entry)) {
      expired_at = at;
      return false;
    }
    found.last = entry;
    found.length = at + 1;
    return true;
  };
  std::size_t missing = chain.size();   // the first that is known not to be there
  for (std::size_t step = 1; found.length < missing; step *= 2) {
    const std::size_t at = std::min(found.length + step, missing) - 1;
    if (!reaches(at)) {
      missing = at;
      break;
    }
  }
  while (found.length < missing) {
    const std::size_t middle = found.length + (missing - found.length) / 2;
    if (!reaches(middle)) missing = middle;
  }
  found.expired = expired_at == found.length && expired_at < chain.size();
  // A chain whose keys do not tell all that came before them may look longer than it is.
  if (found.length > 1 && (found.last->above() == nullptr || !found.last->above()->has_key(chain[found.length - 2])))
    return longest_step_by_step(chain);
  return found;
}

MemoryTier::Found MemoryTier::longest_step_by_step(std::span<const Key> chain) const {
  Found found;
  for (const Key& key : chain) {
    Entry* entry = state_.find(key);
    if (entry == nullptr || (found.length > 0 && entry->above() != found.last)) break;
    found.expired = state_.is_expired(*entry);
    if (found.expired) break;
    found.last = entry;
    ++found.length;
  }
  return found;
}

PrefixMatch MemoryTier::match(std::span<const Key> chain, std::size_t of) {
  PrefixMatch run;
  if (of == 0) return run;
  Found found;
  bool full = false;
  {
    Epochs::Section section(state_.epochs);
    do {
      found = longest(chain);
    } while (found.last != nullptr && !found.last->state.acquire(kPin));   // it went just now: then what is there before it
    if (found.last != nullptr) run = PrefixMatch(Handle(this, found.last), found.length);
    section.count(found.length, of - found.length);
    constexpr std::size_t kMost = std::numeric_limits<std::uint32_t>::max();
    full = section.note({found.last, static_cast<std::uint32_t>(std::min(found.length, kMost)), static_cast<std::uint32_t>(std::min(of, kMost))});
  }
  if (full) state_.order.flush_own_if_free();
  if (found.expired) remover_.expire(chain[found.length]);
  return run;
}

MemoryTier::Held MemoryTier::hold_run(std::span<const Key> chain, bool only_end) {
  Held held;
  {
    const Epochs::Section section(state_.epochs);
    const Found found = longest(chain);
    if (found.last == nullptr || !found.last->state.acquire(kPin)) return held;
    held.last = Handle(this, found.last);
  }
  for (Entry* entry = held.last.entry_; entry != nullptr; entry = entry->above()) {
    if (only_end && entry->state.children() != (held.entries.empty() ? 0 : 1)) break;
    held.entries.push_back(entry);
  }
  return held;
}

void MemoryTier::demote(std::span<const Key> chain) {
  const Held held = hold_run(chain, true);
  if (held.last) state_.order.demote(held.entries);
}

void MemoryTier::advise(std::span<const Key> chain, const Hints& hints) {
  const Held held = hold_run(chain, hints.priority < Hints::kUsualPriority);
  if (!held.last) return;
  Allowance allowance(evictor_, state_.budget, policy::Retention::keeps(hints) ? policy::Retention::kKeptBytes * held.entries.size() : 0);
  state_.order.advise(held.entries, hints, allowance.take());
}

std::size_t MemoryTier::peek(std::span<const Key> chain) const {
  const Epochs::Section section(state_.epochs);
  return longest(chain).length;
}

bool MemoryTier::contains(const Key& key) const {
  const Epochs::Section section(state_.epochs);
  const Entry* entry = state_.find(key);
  return entry != nullptr && !state_.is_expired(*entry);
}

PrefixMatch MemoryTier::pin(std::span<const Key> chain) {
  PrefixMatch run;
  Found found;
  {
    const Epochs::Section section(state_.epochs);
    do {
      found = longest(chain);
    } while (found.last != nullptr && !found.last->state.acquire(kPin));
    if (found.last != nullptr) run = PrefixMatch(Handle(this, found.last), found.length);
  }
  if (found.expired) remover_.expire(chain[found.length]);
  return run;
}

std::optional<std::size_t> MemoryTier::pin_next(PrefixMatch& run, std::span<const Key> keys) {
  Handle next;
  std::size_t at = 0;
  {
    const Epochs::Section section(state_.epochs);
    for (; at < keys.size() && !next; ++at) {
      Entry* entry = state_.find(keys[at]);
      const bool behind = entry != nullptr && (run.empty() ? !entry->has(kChained) : entry->above() == run.last_.entry_);
      if (behind && !state_.is_expired(*entry) && entry->state.acquire(kPin)) next = Handle(this, entry);
    }
  }
  if (!next) return std::nullopt;
  run = PrefixMatch(std::move(next), run.size() + 1);   // its parent's pin goes outside the section
  return at - 1;
}

// A note is collected before what it names is freed only if it was not gone in this section: a
// second pin tells.
void MemoryTier::use(const PrefixMatch& run, std::size_t of) {
  if (of == 0) return;
  constexpr std::size_t kMost = std::numeric_limits<std::uint32_t>::max();
  Handle held;
  bool full = false;
  {
    Epochs::Section section(state_.epochs);
    Entry* last = run.last_.entry_;
    if (last != nullptr && last->state.acquire(kPin)) held = Handle(this, last);
    section.count(run.size(), of - run.size());
    const std::size_t length = held ? run.size() : 0;
    full = section.note({held.entry_, static_cast<std::uint32_t>(std::min(length, kMost)), static_cast<std::uint32_t>(std::min(of, kMost))});
  }
  if (full) state_.order.flush_own_if_free();
}

}   // namespace tensorcache::memory
