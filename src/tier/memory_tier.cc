#include "tier/memory_tier.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

#include "tier/layout.h"

namespace tensorcache::detail {

namespace {

// No address space holds more; also keeps the arithmetic of sizes far from overflow.
constexpr std::size_t kLargestValueBytes = std::size_t{1} << 47;

}   // namespace

MemoryTier::MemoryTier(std::uint64_t capacity_bytes, std::unique_ptr<Policy> policy, Clock clock)
    : clock_(std::move(clock)), budget_(capacity_bytes), policy_(std::move(policy)) {
  policy_->resize(capacity_bytes);
}

MemoryTier::~MemoryTier() { clear(std::nullopt); }

PutStatus MemoryTier::rejected(PutStatus status) {
  rejected_puts_.fetch_add(1, std::memory_order_relaxed);
  return status;
}

Draft MemoryTier::reserve(const Key& key, std::size_t value_bytes, const PutOptions& options) {
  Draft draft;
  if (contains(key)) {
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
  Entry* entry = nullptr;
  try {
    if (announce(key, Layout(value_bytes).charge(), options.kind, parent)) entry = allocate(Layout(value_bytes));
  } catch (const std::bad_alloc&) {
    if (parent != nullptr && drop(*parent, kKid)) reclaim(parent);
    throw;
  }
  if (entry == nullptr) {
    if (parent != nullptr && drop(*parent, kKid)) reclaim(parent);
    draft.status_ = rejected(PutStatus::kNoSpace);
    return draft;
  }
  entry->key = key;
  entry->kind = options.kind;
  entry->owner = options.owner;
  entry->source = options.source;
  entry->value_bytes = value_bytes;
  entry->time_to_live = options.time_to_live;
  entry->parent = parent;
  entry->chained = options.parent.has_value();
  entry->hash = std::hash<Key>{}(key);
  entry->cost_seconds = options.cost_seconds;
  draft.parent_ = options.parent;
  draft.tier_ = shared_from_this();
  draft.entry_ = entry;
  draft.status_ = PutStatus::kStored;
  return draft;
}

bool MemoryTier::announce(const Key& key, std::uint64_t charge_bytes, Kind kind, Entry* parent) {
  PolicyNode node;
  node.kind = kind;
  node.charge_bytes = charge_bytes;
  node.hash = std::hash<Key>{}(key);
  node.parent = parent;
  const bool needs_room = budget_.used() + charge_bytes > budget_.capacity();
  const std::lock_guard lock(policy_mutex_);
  policy_->announce(node);
  return kind != Kind::kPrefixBlock || !needs_room || policy_->admits(node);
}

PutStatus MemoryTier::commit(Draft draft, Handle* pinned) { return publish(std::move(draft), pinned, std::chrono::milliseconds(0)); }

PutStatus MemoryTier::commit_aged(Draft draft, std::chrono::milliseconds age, std::chrono::milliseconds time_to_live) {
  if (draft) draft.entry_->time_to_live = time_to_live;
  return publish(std::move(draft), nullptr, age);
}

PutStatus MemoryTier::publish(Draft draft, Handle* pinned, std::chrono::milliseconds age) {
  Entry* entry = draft.entry_;
  if (entry == nullptr) return draft.status_ == PutStatus::kStored ? PutStatus::kNoSpace : draft.status_;
  assert(draft.tier_.get() == this);
  if (entry->chained && entry->parent == nullptr) {
    entry->parent = hold_parent(*draft.parent_);
    if (entry->parent == nullptr) return rejected(PutStatus::kParentMissing);
  }
  Shard& shard = index_.shard(entry->key);
  make_table_room(shard);
  for (;;) {
    {
      const std::lock_guard lock(shard.mutex);
      if (entry->parent != nullptr && ((entry->parent->state.load() & kGone) != 0 || is_expired(*entry->parent))) {
        return rejected(PutStatus::kParentMissing);
      }
      Entry* other = shard.find(entry->key);
      if (other != nullptr && !is_expired(*other)) {
        if (pinned != nullptr) *pinned = pin(*other);
        return PutStatus::kAlreadyStored;
      }
      if (other == nullptr) {
        entry->stored_at = clock_() - age;
        if (pinned != nullptr) *pinned = pin(*entry);
        KindCounters& kind = kinds_[static_cast<std::size_t>(entry->kind)];
        kind.entries.fetch_add(1, std::memory_order_relaxed);
        kind.value_bytes.fetch_add(entry->value_bytes, std::memory_order_relaxed);
        kind.charged_bytes.fetch_add(entry->charge_bytes, std::memory_order_relaxed);
        shard.link(*entry);
        entry->PolicyNode::parent = entry->parent;
        const std::lock_guard policy_lock(policy_mutex_);
        entry->tick.store(++ticks_, std::memory_order_relaxed);
        entry->linked = true;
        policy_->insert(*entry);
        draft.entry_ = nullptr;   // the index has it now
        break;
      }
    }
    expirations_.fetch_add(forget(entry->key, Only::kExpired), std::memory_order_relaxed);
  }
  puts_.fetch_add(1, std::memory_order_relaxed);
  if (budget_.over()) trim();
  return PutStatus::kStored;
}

PutStatus MemoryTier::put(const Key& key, std::span<const std::byte> value, const PutOptions& options, Handle* pinned) {
  // Before anything is evicted to make room.
  if (options.parent && !contains(*options.parent) && !contains(key)) return rejected(PutStatus::kParentMissing);
  Draft draft = reserve(key, value.size(), options);
  if (draft && !value.empty()) std::memcpy(draft.bytes().data(), value.data(), value.size());
  return commit(std::move(draft), pinned);
}

Handle MemoryTier::detached(std::span<const std::byte> value, const PutOptions& options) {
  const std::size_t block_bytes = sizeof(Entry) + value.size();
  auto* entry = new (::operator new(block_bytes, std::align_val_t{alignof(Entry)})) Entry;
  entry->kind = options.kind;
  entry->data = reinterpret_cast<std::byte*>(entry + 1);
  entry->value_bytes = value.size();
  if (!value.empty()) std::memcpy(entry->data, value.data(), value.size());
  entry->stored_at = clock_();
  entry->state.store(kGone);
  return pin(*entry);
}

Handle MemoryTier::get(const Key& key, Count count) {
  Shard& shard = index_.shard(key);
  const std::uint64_t counted = count == Count::kYes ? 1 : 0;
  Handle handle;
  bool expired = false;
  {
    const std::lock_guard lock(shard.mutex);
    Entry* entry = shard.find(key);
    expired = entry != nullptr && is_expired(*entry);
    if (entry == nullptr || expired) {
      shard.misses += counted;
    } else {
      handle = pin(*entry);
      entry->hits += 1;
      shard.hits += counted;
    }
  }
  if (handle) {
    // A touch is worth less than waiting for whoever is evicting just now.
    const std::unique_lock lock(policy_mutex_, std::try_to_lock);
    if (lock) touch_locked(*handle.entry_);
  } else if (expired) {
    expirations_.fetch_add(forget(key, Only::kExpired), std::memory_order_relaxed);
  }
  return handle;
}

std::vector<Handle> MemoryTier::match(std::span<const Key> chain) {
  std::vector<Handle> run;
  run.reserve(chain.size());
  bool expired = false;
  for (const Key& key : chain) {
    Shard& shard = index_.shard(key);
    const std::lock_guard lock(shard.mutex);
    Entry* entry = shard.find(key);
    expired = entry != nullptr && is_expired(*entry);
    if (entry == nullptr || expired) {
      shard.misses += chain.size() - run.size();
      break;
    }
    run.push_back(pin(*entry));
    entry->hits += 1;
    shard.hits += 1;
  }
  {
    const std::lock_guard lock(policy_mutex_);
    policy_->begin({.values = chain.size(), .hits = run.size()});
    std::for_each(run.rbegin(), run.rend(), [&](const Handle& handle) { touch_locked(*handle.entry_); });
  }
  if (expired) expirations_.fetch_add(forget(chain[run.size()], Only::kExpired), std::memory_order_relaxed);
  return run;
}

void MemoryTier::demote(std::span<const Key> chain) {
  std::vector<Handle> run;
  for (const Key& key : chain) {
    Shard& shard = index_.shard(key);
    const std::lock_guard lock(shard.mutex);
    Entry* entry = shard.find(key);
    if (entry == nullptr) break;
    run.push_back(pin(*entry));
  }
  const std::lock_guard lock(policy_mutex_);
  std::size_t first = run.size();
  const auto kids = [&](std::size_t i) { return (run[i].entry_->state.load() & kReferences) / kKid; };
  while (first > 0 && kids(first - 1) == (first == run.size() ? 0 : 1)) --first;
  for (; first < run.size(); ++first) {
    if (run[first].entry_->linked) policy_->demote(*run[first].entry_);
  }
}

std::size_t MemoryTier::peek(std::span<const Key> chain) const {
  const auto missing = std::find_if_not(chain.begin(), chain.end(), [&](const Key& key) { return contains(key); });
  return static_cast<std::size_t>(missing - chain.begin());
}

bool MemoryTier::contains(const Key& key) const {
  const Shard& shard = index_.shard(key);
  const std::lock_guard lock(shard.mutex);
  const Entry* entry = shard.find(key);
  return entry != nullptr && !is_expired(*entry);
}

}   // namespace tensorcache::detail
