// Room in the budget: charge, allocate, evict.
#include <new>
#include <thread>

#include "tier/layout.h"
#include "tier/memory_tier.h"

namespace tensorcache::detail {

std::byte* MemoryTier::obtain_buffer(std::size_t buffer_bytes) {
  for (;;) {
    if (std::byte* idle = pool_.take(buffer_bytes)) return idle;
    if (budget_.try_charge(buffer_bytes)) {
      if (std::byte* fresh = BufferPool::map(buffer_bytes)) return fresh;
      budget_.give_back(buffer_bytes);
      throw std::bad_alloc();
    }
    if (!pool_.release(buffer_bytes) && !evict_one()) return nullptr;
  }
}

bool MemoryTier::make_room(std::uint64_t bytes) {
  while (!budget_.try_charge(bytes)) {
    if (!pool_.release(bytes) && !evict_one()) return false;
  }
  return true;
}

Entry* MemoryTier::allocate(const Layout& layout) {
  std::byte* buffer = nullptr;
  if (layout.buffer_bytes != 0) {
    buffer = obtain_buffer(layout.buffer_bytes);
    if (buffer == nullptr) return nullptr;
  }
  void* block = nullptr;
  const bool room = make_room(layout.block_charge());
  if (room) block = ::operator new(layout.block_bytes, std::align_val_t{alignof(Entry)}, std::nothrow);
  if (block == nullptr) {
    if (buffer != nullptr) pool_.put(buffer, layout.buffer_bytes);
    if (!room) return nullptr;
    budget_.give_back(layout.block_charge());
    throw std::bad_alloc();
  }
  auto* entry = new (block) Entry;
  entry->buffer_bytes = layout.buffer_bytes;
  entry->charge_bytes = layout.charge();
  entry->data = buffer != nullptr ? buffer : reinterpret_cast<std::byte*>(entry + 1);
  return entry;
}

void MemoryTier::free_memory(Entry* entry) {
  if (entry->buffer_bytes != 0) pool_.put(entry->data, entry->buffer_bytes);
  const std::uint64_t rest = entry->charge_bytes - entry->buffer_bytes;
  entry->~Entry();
  ::operator delete(entry, std::align_val_t{alignof(Entry)});
  budget_.give_back(rest);   // last: the bytes are free before they may be charged again
}

void MemoryTier::make_table_room(Shard& shard) {
  std::uint64_t bytes = 0;
  {
    const std::lock_guard lock(shard.mutex);
    bytes = shard.wanted_table_bytes();
  }
  // Without room or memory the buckets grow longer instead.
  if (bytes == 0 || !make_room(bytes)) return;
  std::unique_ptr<Entry*[]> table(new (std::nothrow) Entry*[bytes / sizeof(Entry*)]());
  const std::unique_lock lock(shard.mutex);
  if (table && shard.wanted_table_bytes() == bytes) {
    shard.set_table(std::move(table), bytes, budget_);
  } else {
    table.reset();
    budget_.give_back(bytes);
  }
}

bool MemoryTier::evict_one() {
  for (;;) {
    Entry* entry = nullptr;
    {
      const std::lock_guard lock(policy_mutex_);
      if (PolicyNode* node = policy_->pop()) {
        entry = static_cast<Entry*>(node);
        entry->linked = false;
        // Whatever is in the policy's hands is alive; this keeps it so until its shard is locked.
        entry->state.fetch_add(kPin);
        ++evicting_;
      } else if (evicting_ == 0) {
        return false;
      }
    }
    if (entry == nullptr) {   // another thread has the last one in hand, and may free its parent or put it back
      std::this_thread::yield();
      continue;
    }
    Entry* garbage = nullptr;
    bool evicted = false;
    {
      Shard& shard = index_.shard(entry->key);
      const std::lock_guard lock(shard.mutex);
      const std::uint64_t state = entry->state.load();
      if ((state & kGone) == 0) {
        evicted = (state & kReferences) == kPin;
        if (evicted) {
          unindex(shard, *entry, garbage);
          if (shard.empty()) shard.drop_table(budget_);
        } else {
          entry->state.fetch_or(kParked);
        }
      }
    }
    // If the last reference went meanwhile, this puts a parked entry back into the policy's hands.
    if (drop(*entry, kPin)) reclaim(entry);
    {
      const std::lock_guard lock(policy_mutex_);
      --evicting_;
    }
    if (!evicted) continue;
    evictions_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
}

void MemoryTier::trim() {
  for (;;) {
    const std::uint64_t used = budget_.used(), capacity = budget_.capacity();
    if (used <= capacity || (!pool_.release(used - capacity) && !evict_one())) return;
  }
}

void MemoryTier::resize(std::uint64_t capacity_bytes) {
  budget_.set_capacity(capacity_bytes);
  {
    const std::lock_guard lock(policy_mutex_);
    policy_->resize(capacity_bytes);
  }
  trim();
}

}   // namespace tensorcache::detail
