// Stores values.
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

#include "store/memory/memory_tier.h"

namespace tensorcache::memory {

namespace {

// No address space holds more; also keeps the arithmetic of sizes, and what an entry says of its
// slack, far from overflow.
constexpr std::size_t kLargestValueBytes = std::size_t{1} << 36;

}   // namespace

PutStatus MemoryTier::rejected(PutStatus status) {
  state_.rejected_puts.fetch_add(1, std::memory_order_relaxed);
  return status;
}

Entry* MemoryTier::hold_parent(const Key& key) {
  const Epochs::Section section(state_.epochs);
  Entry* parent = state_.find(key);
  if (parent == nullptr || state_.is_expired(*parent) || parent->state.children() >= kMaxChildren) return nullptr;
  return parent->state.acquire(kChild) ? parent : nullptr;
}

void MemoryTier::let_go_of_parent(Entry* parent) {
  if (parent != nullptr && evictor_.drop(*parent, kChild)) evictor_.reclaim(parent);
}

Reservation MemoryTier::reserve(const Key& key, std::size_t value_bytes, const PutOptions& options) {
  Reservation draft;
  if (!options.replaces && contains(key)) {
    draft.status_ = PutStatus::kAlreadyStored;
    return draft;
  }
  const std::uint64_t capacity = state_.budget.capacity();
  if (value_bytes > kLargestValueBytes || value_bytes > capacity || Layout(value_bytes).charge() > capacity) {
    draft.status_ = rejected(PutStatus::kTooLarge);
    return draft;
  }
  // Held from here on, so that the room for the child is not made by evicting its parent. A parent
  // that is not stored yet may still come before the commit.
  Entry* parent = options.parent ? hold_parent(*options.parent) : nullptr;
  Entry* entry = nullptr;
  try {
    entry = allocate(key, value_bytes, options, parent);
  } catch (const std::bad_alloc&) {
    let_go_of_parent(parent);
    throw;
  }
  if (entry == nullptr) {
    let_go_of_parent(parent);
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
  draft.urgent_ = options.urgent;
  draft.tier_ = this;
  draft.entry_ = entry;
  draft.status_ = PutStatus::kStored;
  return draft;
}

// Null: not admitted, or no room. What the new entry is going to replace is kept if there is other
// room.
Entry* MemoryTier::allocate(const Key& key, std::size_t value_bytes, const PutOptions& options, Entry* parent) {
  const Layout layout(value_bytes);
  Handle replaced = options.replaces ? get(key, Count::kNo) : Handle();
  if (!is_admitted(key, layout, options, parent)) return nullptr;
  Entry* const entry = evictor_.allocate(layout);
  const std::uint64_t there = replaced ? entry_of(replaced).charge_bytes : 0;
  if (entry != nullptr || state_.budget.used() + layout.charge() > state_.budget.capacity() + there) return entry;
  replaced.reset();
  return evictor_.allocate(layout);
}

bool MemoryTier::is_admitted(const Key& key, const Layout& layout, const PutOptions& options, Entry* parent) {
  const bool selective = admission_ == Admission::kSelective && options.kind == Kind::kPrefixBlock && state_.order.is_selective() &&
                         state_.budget.used() + layout.charge() > state_.budget.capacity();
  if (!selective && !state_.order.wants_reservations()) return true;
  policy::PolicyNode node;
  node.kind = options.kind;
  node.charge_bytes = layout.charge();
  node.hash = std::hash<Key>{}(key);
  node.cost_seconds = options.cost_seconds;
  node.parent = parent;
  return state_.order.announce(node, selective);
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
  Shard& shard = state_.index.shard(*entry);
  Garbage garbage;
  Allowance allowance(evictor_, state_.budget, policy::Retention::keeps(draft.hints_) ? policy::Retention::kKeptBytes : 0);
  Step step;
  for (bool may_grow = true;;) {
    {
      const SpinLock lock(shard.mutex);
      step = publish_locked(shard, draft, pinned, age, may_grow, allowance, garbage);
    }
    if (step.status) break;
    if (step.wanted_table_bytes != 0) {
      evictor_.grow_table(shard, step.wanted_table_bytes);
      may_grow = false;
    } else {
      remover_.expire(entry->key());
    }
  }
  evictor_.sweep(garbage);
  if (*step.status == PutStatus::kNoSpace && pinned != nullptr) pinned->reset();
  if (*step.status == PutStatus::kAlreadyStored) return *step.status;
  if (*step.status != PutStatus::kStored) return rejected(*step.status);
  if (state_.order.wants_room()) evictor_.make_policy_room();
  if (state_.budget.over()) evictor_.trim();
  return PutStatus::kStored;
}

MemoryTier::Step MemoryTier::publish_locked(Shard& shard, Reservation& draft, Handle* pinned, std::chrono::milliseconds age, bool may_grow,
                                            Allowance& allowance, Garbage& garbage) {
  Entry* const entry = draft.entry_;
  const auto now = state_.clock();
  if (const Entry* parent = entry->above();
      parent != nullptr && (parent->has(kGone) || (parent->has(kExpires) && parent->lifetime.over(now)) || remover_.is_being_forgotten(*parent))) {
    return {PutStatus::kParentMissing};
  }
  Entry* other = shard.find(entry->key());
  Entry* const replaced = other != nullptr && draft.replaces_ && other->state.retire_if_alone() ? std::exchange(other, nullptr) : nullptr;
  if (other != nullptr) {
    if (state_.is_expired(*other)) return {};
    if (pinned != nullptr) *pinned = pin(*other);
    return {PutStatus::kAlreadyStored};
  }
  if (replaced == nullptr && may_grow) {
    if (const std::uint64_t wanted_bytes = shard.wanted_table_bytes(); wanted_bytes != 0) return {{}, wanted_bytes};
  }
  set_lifetime(*entry, Lifetime::clamped(age), now);
  if (pinned != nullptr) *pinned = pin(*entry);
  if (!link_locked(shard, *entry, replaced, garbage)) return {PutStatus::kNoSpace};   // in a table that has no place and could not grow
  draft.entry_ = nullptr;                                                             // the index has it now
  shard.count_put(*entry);
  state_.order.insert(*entry, draft.hints_, allowance.take());
  return {PutStatus::kStored};
}

// The new one first: whoever meets the one it replaces gone finds that.
bool MemoryTier::link_locked(Shard& shard, Entry& entry, Entry* replaced, Garbage& garbage) {
  const bool linked = shard.link(entry);
  if (replaced == nullptr) return linked;
  state_.unindex(shard, *replaced, &ShardCounts::removals, garbage);
  return linked || shard.link(entry);
}

// No value outlives what it is chained behind: whoever finds it alive need not look at those before
// it.
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
  evictor_.count_blocks(1);
  entry->kind = options.kind;
  entry->charge_bytes = layout.charge();
  entry->slack_bytes = static_cast<std::uint32_t>(layout.charge() - value.size());
  entry->state.set_trait(kGone | kDetached);
  if (!value.empty()) std::memcpy(Layout::first_line(block), value.data(), value.size());
  entry->lifetime = Lifetime(state_.clock(), {});
  return pin(*entry);
}

}   // namespace tensorcache::memory
