// Looking up and storing.
#include "store/memory/memory_tier.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace tensorcache::memory {

namespace {

// No address space holds more; also keeps the arithmetic of sizes, and what an entry says of its slack, far from overflow.
constexpr std::size_t kLargestValueBytes = std::size_t{1} << 36;

}   // namespace

MemoryTier::MemoryTier(std::uint64_t capacity_bytes, std::unique_ptr<policy::Policy> policy, Clock clock, Admission admission)
    : clock_(std::move(clock)),
      admission_(admission),
      budget_(capacity_bytes),
      policy_(std::make_unique<policy::Retention>(std::move(policy), clock_)) {
  policy_->use_memory(policy_account_);
  policy_->resize(capacity_bytes);
}

std::shared_ptr<MemoryTier> MemoryTier::make(std::uint64_t capacity_bytes, std::unique_ptr<policy::Policy> policy, Clock clock, Admission admission) {
  return {new MemoryTier(capacity_bytes, std::move(policy), std::move(clock), admission), [](MemoryTier* tier) {
            tier->clear(std::nullopt);
            tier->let_live(-1);
          }};
}

PutStatus MemoryTier::rejected(PutStatus status) {
  rejected_puts_.fetch_add(1, std::memory_order_relaxed);
  return status;
}

Reservation MemoryTier::reserve(const Key& key, std::size_t value_bytes, const PutOptions& options) {
  Reservation draft;
  if (!options.replaces && contains(key)) {
    draft.status_ = PutStatus::kAlreadyStored;
    return draft;
  }
  const std::uint64_t capacity = budget_.capacity();
  if (value_bytes > kLargestValueBytes || value_bytes > capacity || Layout(value_bytes).charge() > capacity) {
    draft.status_ = rejected(PutStatus::kTooLarge);
    return draft;
  }
  // Held from here on, so that the room for the child is not made by evicting its parent. A parent that is not stored yet
  // may still come before the commit.
  Entry* parent = options.parent ? hold_parent(*options.parent) : nullptr;
  Handle replaced = options.replaces ? get(key, Count::kNo) : Handle();   // the same for what this is going to replace, if there is other room
  Entry* entry = nullptr;
  try {
    if (on_reserve(key, Layout(value_bytes), options, parent)) {
      entry = allocate(Layout(value_bytes));
      const std::uint64_t there = replaced ? entry_of(replaced).charge_bytes : 0;
      if (entry == nullptr && budget_.used() + Layout(value_bytes).charge() <= budget_.capacity() + there) {
        replaced.reset();
        entry = allocate(Layout(value_bytes));
      }
    }
  } catch (const std::bad_alloc&) {
    if (parent != nullptr && drop(*parent, kChild)) reclaim(parent);
    throw;
  }
  if (entry == nullptr) {
    if (parent != nullptr && drop(*parent, kChild)) reclaim(parent);
    draft.status_ = rejected(PutStatus::kNoSpace);
    return draft;
  }
  entry->set_key(key);
  entry->kind = options.kind;
  entry->owner = options.owner;
  entry->source = options.source;
  entry->lifetime = Lifetime({}, options.time_to_live);
  entry->parent = parent;
  entry->cost_seconds = options.cost_seconds;
  entry->slack_bytes = static_cast<std::uint32_t>(entry->charge_bytes - value_bytes);
  if (options.parent) entry->state.set_trait(kChained);
  draft.parent_ = options.parent;
  draft.hints_ = options.hints;
  draft.replaces_ = options.replaces;
  draft.tier_ = this;
  draft.entry_ = entry;
  draft.status_ = PutStatus::kStored;
  return draft;
}

bool MemoryTier::on_reserve(const Key& key, const Layout& layout, const PutOptions& options, Entry* parent) {
  const bool is_selective = admission_ == Admission::kSelective && options.kind == Kind::kPrefixBlock && policy_->is_selective() &&
                            budget_.used() + layout.charge() > budget_.capacity();
  if (!is_selective && !policy_->wants_reservations()) return true;
  policy::PolicyNode node;
  node.kind = options.kind;
  node.charge_bytes = layout.charge();
  node.hash = std::hash<Key>{}(key);
  node.cost_seconds = options.cost_seconds;
  node.parent = parent;
  const std::lock_guard lock(policy_mutex_);
  flush_own_uses();
  policy_->on_reserve(node);
  return !is_selective || policy_->admits(node);
}

PutStatus MemoryTier::commit(Reservation draft, Handle* pinned) { return publish(std::move(draft), pinned, std::chrono::milliseconds(0)); }

PutStatus MemoryTier::commit_aged(Reservation draft, std::chrono::milliseconds age, std::chrono::milliseconds time_to_live, Handle* pinned) {
  if (draft) draft.entry_->lifetime = Lifetime({}, time_to_live);
  return publish(std::move(draft), pinned, age);
}

PutStatus MemoryTier::publish(Reservation draft, Handle* pinned, std::chrono::milliseconds age) {
  Entry* entry = draft.entry_;
  if (entry == nullptr) return draft.status_ == PutStatus::kStored ? PutStatus::kNoSpace : draft.status_;
  assert(draft.tier_ == this);
  if (entry->has(kChained) && entry->parent == nullptr) {
    entry->parent = hold_parent(*draft.parent_);
    if (entry->parent == nullptr) return rejected(PutStatus::kParentMissing);
  }
  Shard& shard = index_.shard(*entry);
  Garbage garbage;
  Allowance allowance(*this, policy::Retention::keeps(draft.hints_) ? policy::Retention::kKeptBytes : 0);
  for (bool may_grow = true;;) {
    std::uint64_t wanted_bytes = 0;
    {
      const std::lock_guard lock(shard.mutex);
      const auto now = clock_();
      if (const Entry* parent = entry->above();
          parent != nullptr && (parent->has(kGone) || (parent->has(kExpires) && parent->lifetime.over(now)) || is_being_forgotten(*parent))) {
        return rejected(PutStatus::kParentMissing);
      }
      Entry* other = shard.find(entry->key());
      Entry* const replaced = other != nullptr && draft.replaces_ && other->state.retire_if_alone() ? std::exchange(other, nullptr) : nullptr;
      if (other != nullptr && !is_expired(*other)) {
        if (pinned != nullptr) *pinned = pin(*other);
        return PutStatus::kAlreadyStored;
      }
      if (other == nullptr && replaced == nullptr && may_grow) wanted_bytes = shard.wanted_table_bytes();
      if (other == nullptr && wanted_bytes == 0) {
        set_lifetime(*entry, Lifetime::clamped(age), now);
        if (pinned != nullptr) *pinned = pin(*entry);
        if (!link(shard, *entry, replaced, garbage)) break;   // in a table that has no place and could not grow
        draft.entry_ = nullptr;                               // the index has it now
        hand_over(shard, *entry, draft.hints_, allowance);
        break;
      }
    }
    if (wanted_bytes != 0) {
      grow_table(shard, wanted_bytes);
      may_grow = false;
    } else {
      expire(entry->key());
    }
  }
  sweep(garbage);
  if (draft.entry_ != nullptr) {
    if (pinned != nullptr) pinned->reset();
    return rejected(PutStatus::kNoSpace);
  }
  if (policy_account_.wants_room()) make_policy_room();
  if (budget_.over()) trim();
  return PutStatus::kStored;
}

// A walk took out what this is chained behind, however far up, and has not come to it yet. Needs a shard held: forget_where().
bool MemoryTier::is_being_forgotten(const Entry& parent) const {
  if (!forgetting_.load()) return false;
  for (const Entry* entry = &parent; entry != nullptr; entry = entry->above()) {
    if (entry->has(kMarkForget)) return true;
  }
  return false;
}

// The new one first: whoever meets the one it replaces gone finds that.
bool MemoryTier::link(Shard& shard, Entry& entry, Entry* replaced, Garbage& garbage) {
  const bool linked = shard.link(entry);
  if (replaced == nullptr) return linked;
  unindex(shard, *replaced, &ShardCounts::removals, garbage);
  return linked || shard.link(entry);
}

// No value outlives what it is chained behind: whoever finds it alive need not look at those before it.
void MemoryTier::set_lifetime(Entry& entry, std::chrono::milliseconds age, std::chrono::steady_clock::time_point now) {
  using Ms = std::chrono::milliseconds;
  Ms time_to_live = entry.lifetime.time_to_live();
  if (const Entry* parent = entry.above(); parent != nullptr && parent->has(kExpires)) {
    const Ms left = parent->lifetime.time_to_live() - parent->lifetime.age(now);
    if (left + age <= Ms(0)) age = Ms(0);   // a negative age, from a clock that was set back
    if (time_to_live.count() == 0 || time_to_live > left + age) time_to_live = left + age;
  }
  entry.lifetime = Lifetime(now - age, time_to_live);
  if (time_to_live.count() != 0) entry.state.set_trait(kExpires);
}

// What was just linked, into the policy's hands.
void MemoryTier::hand_over(Shard& shard, Entry& entry, const Hints& hints, Allowance& allowance) {
  KindStats& kind = shard.counts.kinds[static_cast<std::size_t>(entry.kind)];
  kind.entries += 1;
  kind.value_bytes += entry.value_bytes();
  kind.charged_bytes += entry.charge_bytes;
  shard.counts.puts += 1;
  const std::lock_guard lock(policy_mutex_);
  flush_own_uses();   // what this request found comes before what it brings
  entry.set_last_use(next_tick());
  policy_->insert(entry);
  if (hints != Hints()) {
    policy_->allow(std::exchange(allowance.bytes, 0));
    policy_->advise(entry, hints);
    end_kept();
  }
  entry.state.link();
  ++linked_;
  publish_clock_mode();
}

PutStatus MemoryTier::put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned) {
  // Before anything is evicted to make room.
  if (options.parent && !contains(*options.parent) && !contains(key)) return rejected(PutStatus::kParentMissing);
  Reservation draft = reserve(key, value.size(), options);
  if (draft && !value.empty()) std::memcpy(draft.bytes().data(), value.data(), value.size());
  return commit(std::move(draft), pinned);
}

Handle MemoryTier::detached(std::span<const std::byte> value, const PutOptions& options) {
  const Layout layout(value.size(), false);
  void* block = layout.new_block();
  if (block == nullptr) throw std::bad_alloc();
  Entry* entry = layout.place_entry(block);
  let_live(1);
  entry->kind = options.kind;
  entry->charge_bytes = layout.charge();
  entry->slack_bytes = static_cast<std::uint32_t>(layout.charge() - value.size());
  entry->state.set_trait(kGone | kDetached);
  if (!value.empty()) std::memcpy(Layout::first_line(block), value.data(), value.size());
  entry->lifetime = Lifetime(clock_(), {});
  return pin(*entry);
}

Handle MemoryTier::get(const Key& key, Count count) {
  const std::uint64_t hits = count == Count::kNo ? 0 : 1, misses = count == Count::kYes ? 1 : 0;
  Handle handle;
  bool expired = false, full = false;
  {
    Epochs::Section section(epochs_);
    Entry* entry = nullptr;
    do {
      entry = find(key);
      expired = entry != nullptr && is_expired(*entry);
    } while (entry != nullptr && !expired && !entry->state.acquire(kPin));
    if (entry == nullptr || expired) {
      section.count(0, misses);
    } else {
      handle = Handle(this, entry);
      section.count(hits, 0);
      entry->hits.store(entry->hits.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      full = note_use(*entry, section);
    }
  }
  if (full) flush_uses_if_free();
  if (expired) expire(key);
  return handle;
}

MemoryTier::Found MemoryTier::longest(std::span<const Key> chain) const {
  Found found;
  std::size_t expired_at = chain.size();
  // Whether the value at `at` is there; then so are all before it.
  const auto reaches = [&](std::size_t at) {
    Entry* entry = find(chain[at]);
    if (entry == nullptr || (at > 0 && !entry->has(kChained))) return false;
    if (is_expired(*entry)) {
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
    Entry* entry = find(key);
    if (entry == nullptr || (found.length > 0 && entry->above() != found.last)) break;
    found.expired = is_expired(*entry);
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
    Epochs::Section section(epochs_);
    do {
      found = longest(chain);
    } while (found.last != nullptr && !found.last->state.acquire(kPin));   // it went just now: then what is there before it
    if (found.last != nullptr) run = PrefixMatch(Handle(this, found.last), found.length);
    section.count(found.length, of - found.length);
    constexpr std::size_t kMost = std::numeric_limits<std::uint32_t>::max();
    full = section.note({found.last, static_cast<std::uint32_t>(std::min(found.length, kMost)), static_cast<std::uint32_t>(std::min(of, kMost))});
  }
  if (full) flush_uses_if_free();
  if (found.expired) expire(chain[found.length]);
  return run;
}

// Calls `with` for the run's entries that the policy holds, from its first to its last; `only_end`: for those at its end that nothing else is
// chained behind. `bytes_each`: what the policy may take for each of them.
template <class Do>
void MemoryTier::for_chain(std::span<const Key> chain, bool only_end, std::uint64_t bytes_each, const Do& with) {
  Handle last;
  {
    const Epochs::Section section(epochs_);
    const Found found = longest(chain);
    if (found.last == nullptr || !found.last->state.acquire(kPin)) return;
    last = Handle(this, found.last);
  }
  std::vector<Entry*> entries;   // the last first
  for (Entry* entry = last.entry_; entry != nullptr; entry = entry->above()) {
    if (only_end && entry->state.children() != (entries.empty() ? 0 : 1)) break;
    entries.push_back(entry);
  }
  Allowance allowance(*this, bytes_each * entries.size());
  const std::lock_guard lock(policy_mutex_);
  flush_all_uses();
  policy_->allow(std::exchange(allowance.bytes, 0));
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if ((*entry)->has(kParked)) put_back(**entry);
    if ((*entry)->has(kLinked)) with(**entry);
  }
  end_kept();
  publish_clock_mode();   // there may be the first hint now
}

void MemoryTier::demote(std::span<const Key> chain) {
  for_chain(chain, true, 0, [this](Entry& entry) { policy_->demote(entry); });
}

void MemoryTier::advise(std::span<const Key> chain, const Hints& hints) {
  const bool low = hints.priority < Hints::kUsualPriority;
  for_chain(chain, low, policy::Retention::keeps(hints) ? policy::Retention::kKeptBytes : 0, [&](Entry& entry) { policy_->advise(entry, hints); });
}

std::size_t MemoryTier::peek(std::span<const Key> chain) const {
  const Epochs::Section section(epochs_);
  return longest(chain).length;
}

bool MemoryTier::contains(const Key& key) const {
  const Epochs::Section section(epochs_);
  const Entry* entry = find(key);
  return entry != nullptr && !is_expired(*entry);
}

}   // namespace tensorcache::memory
