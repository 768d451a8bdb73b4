#include "store/memory/eviction_order.h"

#include <algorithm>
#include <utility>

namespace tensorcache::memory {

namespace {

// Fewer entries than these are kept in the exact order of their use.
constexpr std::size_t kLazyFromEntries = 1024;

// Where readers only note ticks, their clock moves once in so many insertions and applied uses:
// each time, all of them wait for it.
constexpr std::uint32_t kTicksPerMove = 16;

// One victim at a time for each so many entries: more of them do not change the hit ratio, and take
// the locks less often.
constexpr std::size_t kEntriesForEachVictim = 4096;

}   // namespace

EvictionOrder::EvictionOrder(Budget& budget, Epochs& epochs, std::unique_ptr<policy::Policy> policy, Clock clock)
    : budget_(budget),
      epochs_(epochs),
      wants_reservations_(policy->wants_reservations()),
      is_selective_(policy->is_selective()),
      policy_(std::make_unique<policy::Retention>(std::move(policy), std::move(clock))) {
  policy_->use_memory(account_);
  policy_->resize(budget.capacity());
}

bool EvictionOrder::announce(const policy::PolicyNode& node, bool selective) {
  const SpinLock lock(mutex_);
  flush_own_locked();
  policy_->on_reserve(node);
  return !selective || policy_->admits(node);
}

void EvictionOrder::insert(Entry& entry, const Hints& hints, std::uint64_t allowed_bytes) {
  const SpinLock lock(mutex_);
  flush_own_locked();   // what this request found comes before what it brings
  entry.set_last_use(next_tick_locked());
  policy_->insert(entry);
  if (hints != Hints()) {
    policy_->allow(allowed_bytes);
    policy_->advise(entry, hints);
    end_kept_locked();
  }
  entry.state.link();
  ++linked_;
  publish_mode_locked();
}

void EvictionOrder::erase(Entry& entry) {
  const SpinLock lock(mutex_);
  if (entry.has(kLinked)) {
    policy_->erase(entry);
    --linked_;
  }
  entry.state.leave_policy();
  end_kept_locked();
}

void EvictionOrder::unpark(Entry& entry) {
  const SpinLock lock(mutex_);
  if (entry.has(kParked)) put_back_locked(entry);
}

// Restored first, then relinked in one step: who unlinks the entry from its shard looks at both
// flags without this lock and must find one of them.
void EvictionOrder::put_back_locked(Entry& entry) {
  policy_->restore(entry);
  entry.state.relink();
  ++linked_;
}

template <class Do>
void EvictionOrder::for_held(std::span<Entry* const> entries, std::uint64_t allowed_bytes, const Do& with) {
  const SpinLock lock(mutex_);
  static_cast<void>(flush_locked(Epochs::kAllSlots));
  policy_->allow(allowed_bytes);
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if ((*entry)->has(kParked)) put_back_locked(**entry);
    if ((*entry)->has(kLinked)) with(**entry);
  }
  end_kept_locked();
  publish_mode_locked();   // there may be the first hint now
}

void EvictionOrder::advise(std::span<Entry* const> entries, const Hints& hints, std::uint64_t allowed_bytes) {
  for_held(entries, allowed_bytes, [&](Entry& entry) {
    mutex_.assert_held();
    policy_->advise(entry, hints);
  });
}

void EvictionOrder::demote(std::span<Entry* const> entries) {
  for_held(entries, 0, [this](Entry& entry) {
    mutex_.assert_held();
    policy_->demote(entry);
  });
}

EvictionOrder::Victims EvictionOrder::pop_victims(std::span<Entry*> room) {
  const SpinLock lock(mutex_);
  static_cast<void>(flush_locked(Epochs::kAllSlots));
  const std::size_t wanted = std::clamp<std::size_t>(linked_ / kEntriesForEachVictim, 1, room.size());
  std::size_t count = 0;
  while (count < wanted) {
    policy::PolicyNode* node = policy_->pop();
    if (node == nullptr) break;
    auto* entry = static_cast<Entry*>(node);
    if (count > 0 && entry->state.is_referred_to()) {   // for the next time: what it waits for may be among these
      policy_->restore(*entry);
      break;
    }
    entry->state.pop();   // whatever is linked is alive
    --linked_;
    room[count++] = entry;
  }
  end_kept_locked();
  const bool others_evict = evicting_.load() != 0;
  evicting_.fetch_add(count);
  return {count, others_evict};
}

Epochs::Slots EvictionOrder::flush_locked(Epochs::Slots slots) {
  return epochs_.collect(
      [this](const Use& use) {
        mutex_.assert_held();
        apply_locked(use);
      },
      slots);
}

Epochs::Slots EvictionOrder::flush(Epochs::Slots slots) {
  const SpinLock lock(mutex_);
  return flush_locked(slots);
}

void EvictionOrder::flush_own_if_free() {
  if (!mutex_.try_lock()) return;   // a touch is worth less than waiting for whoever is evicting just now
  flush_own_locked();
  mutex_.unlock();
}

std::uint32_t EvictionOrder::flush_all() {
  const SpinLock lock(mutex_);
  static_cast<void>(flush_locked(Epochs::kAllSlots));
  return published_.ticks.load(std::memory_order_relaxed);
}

void EvictionOrder::apply_locked(const Use& use) {
  if (use.chain == 0) {
    touch_locked(*use.entry);
    return;
  }
  policy_->begin({.values = use.chain, .hits = use.run});
  Entry* entry = use.entry;
  for (std::uint32_t i = 0; i < use.run && entry != nullptr; ++i, entry = entry->above()) {
    entry->hits.store(entry->hits.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    touch_locked(*entry);
  }
  policy_->end_run();
}

void EvictionOrder::touch_locked(Entry& entry) {
  entry.set_last_use(next_tick_locked());
  if (entry.has(kParked)) put_back_locked(entry);
  if (entry.has(kLinked)) policy_->touch(entry);
}

std::uint32_t EvictionOrder::next_tick_locked() {
  const std::uint32_t shown = published_.ticks.load(std::memory_order_relaxed);
  if (++unpublished_ticks_ < kTicksPerMove && published_.lazy.load(std::memory_order_relaxed)) return shown + unpublished_ticks_;
  return published_.ticks.fetch_add(unpublished_ticks_, std::memory_order_relaxed) + std::exchange(unpublished_ticks_, 0);
}

void EvictionOrder::publish_mode_locked() {
  const bool lazy = linked_ >= kLazyFromEntries && policy_->reads_ticks();
  if (published_.lazy.load(std::memory_order_relaxed) != lazy) published_.lazy.store(lazy, std::memory_order_relaxed);
}

// The charge of what the policy does not keep, or no longer.
void EvictionOrder::end_kept_locked() {
  if (const std::uint64_t bytes = policy_->take_back(); bytes != 0) budget_.give_back(bytes);
}

void EvictionOrder::resize(std::uint64_t capacity_bytes) {
  const SpinLock lock(mutex_);   // of two at once the budget and the policy follow the same one
  budget_.set_capacity(capacity_bytes);
  policy_->resize(capacity_bytes);
  if (account_.has_too_much()) policy_->shed();
}

std::uint64_t EvictionOrder::take_wanted() {
  const SpinLock lock(mutex_);
  return account_.take_wanted();
}

void EvictionOrder::add_room(std::uint64_t bytes) {
  const SpinLock lock(mutex_);
  account_.add_room(bytes);
}

bool EvictionOrder::shed() {
  const SpinLock lock(mutex_);
  const std::uint64_t before = account_.bytes();
  if (before == 0) return false;
  policy_->shed();
  account_.drop_room();
  return account_.bytes() < before;
}

}   // namespace tensorcache::memory
