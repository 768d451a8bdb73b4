// Room in the budget: charge, allocate, evict.
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <thread>

#include "store/memory/memory_tier.h"

namespace tensorcache::memory {

namespace {

// So many entries go at once where there are many: one of so many thousands more does not matter, and the locks are taken less often.
constexpr std::size_t kMaxVictims = 8, kEntriesForEachVictim = 4096;

}   // namespace

std::byte* MemoryTier::obtain_buffer(std::size_t buffer_bytes) {
  for (std::uint64_t wanted_bytes = buffer_bytes;;) {
    if (std::byte* idle = pool_.take(buffer_bytes)) return idle;
    if (budget_.try_charge(buffer_bytes)) {
      try {
        if (std::byte* fresh = pool_.map(buffer_bytes)) return fresh;
      } catch (const std::bad_alloc&) {
        budget_.give_back(buffer_bytes);
        throw;
      }
      budget_.give_back(buffer_bytes);
      wanted_bytes += Regions::kAccountBytes;
    }
    if (!free_some(wanted_bytes)) return nullptr;
  }
}

void* MemoryTier::obtain_block(const Layout& layout) {
  for (;;) {
    if (void* spare = spares_.take(layout.block_bytes())) return spare;
    if (budget_.try_charge(layout.block_charge())) break;
    if (!free_some(layout.block_charge())) return nullptr;
  }
  void* block = layout.new_block();
  if (block == nullptr) {
    budget_.give_back(layout.block_charge());
    throw std::bad_alloc();
  }
  const std::uint64_t extra = Layout::taken_by(block) - layout.block_charge();   // malloc may give a little more than it was asked for
  if (extra > 0 && !make_room(extra)) {
    std::free(block);
    budget_.give_back(layout.block_charge());
    return nullptr;
  }
  return block;
}

bool MemoryTier::make_room(std::uint64_t bytes) {
  while (!budget_.try_charge(bytes)) {
    if (!free_some(bytes)) return false;
  }
  return true;
}

// What other threads keep goes last: they are about to need it.
bool MemoryTier::free_some(std::uint64_t bytes) {
  return spares_.release_own(bytes) || pool_.release(bytes) || evict() || spares_.release_all() || shed_policy();
}

void MemoryTier::make_policy_room() {
  std::uint64_t bytes = 0;
  {
    const std::lock_guard lock(policy_mutex_);
    bytes = policy_account_.take_wanted();
  }
  if (bytes == 0 || !make_room(bytes)) return;
  const std::lock_guard lock(policy_mutex_);
  policy_account_.add_room(bytes);
}

bool MemoryTier::shed_policy() {
  const std::lock_guard lock(policy_mutex_);
  const std::uint64_t before = policy_account_.bytes();
  if (before == 0) return false;
  policy_->shed();
  policy_account_.drop_room();
  return policy_account_.bytes() < before;
}

Entry* MemoryTier::allocate(const Layout& layout) {
  std::byte* buffer = nullptr;
  if (layout.buffer_bytes != 0) {
    buffer = obtain_buffer(layout.buffer_bytes);
    if (buffer == nullptr) return nullptr;
  }
  void* block = nullptr;
  try {
    block = obtain_block(layout);
  } catch (const std::bad_alloc&) {
    if (buffer != nullptr) pool_.put(buffer, layout.buffer_bytes);
    throw;
  }
  if (block == nullptr) {
    if (buffer != nullptr) pool_.put(buffer, layout.buffer_bytes);
    return nullptr;
  }
  let_live(1);
  Entry* entry = layout.place_entry(block);
  entry->charge_bytes = Layout::taken_by(block) + layout.buffer_bytes;
  if (buffer != nullptr) {
    std::memcpy(Layout::first_line(block), &buffer, sizeof buffer);
    entry->state.set_trait(kPooled);
  }
  return entry;
}

void MemoryTier::free_memory(Entry* entry, Spare spare) {
  const Layout layout = Layout::of(*entry);
  if (layout.buffer_bytes != 0) pool_.put(data_of(*entry), layout.buffer_bytes);
  const std::uint64_t charged = entry->has(kDetached) ? 0 : entry->charge_bytes - layout.buffer_bytes;
  void* const block = layout.block_of(*entry);
  entry->~Entry();
  if (spare == Spare::kYes && charged != 0 && spares_.keep(block, layout.block_bytes())) return;
  std::free(block);
  budget_.give_back(charged);   // the bytes are free before they may be charged again
}

void MemoryTier::let_live(std::int64_t blocks) {
  if (blocks_.fetch_add(blocks) + blocks == 0) delete this;
}

// Makes the table, which is charged, and puts it in place if it still has the size that is wanted then: another thread may have been faster.
template <class Wanted>
void MemoryTier::replace_table(Shard& shard, std::uint64_t charged_bytes, const Wanted& wanted_bytes) {
  Table* table = Table::make(charged_bytes);
  Garbage garbage;
  bool taken = false;
  if (table != nullptr) {
    const std::lock_guard lock(shard.mutex);
    taken = wanted_bytes() == charged_bytes;
    if (taken) garbage.tables = shard.set_table(table);
  }
  if (!taken) {
    if (table != nullptr) Table::free(table);
    budget_.give_back(charged_bytes);
  }
  sweep(garbage);
}

// Without room or memory the buckets get fuller instead. Also if making room took the need away: it will come back.
void MemoryTier::grow_table(Shard& shard, std::uint64_t bytes) {
  if (make_room(bytes)) replace_table(shard, bytes, [&] { return shard.next_table_bytes(); });
}

// Without room or memory the table stays as it is until the next entry goes. Nothing is evicted for it.
void MemoryTier::shrink_table(Shard& shard) {
  const Shard::Fit fit = this->fit();
  std::uint64_t bytes = 0;
  {
    const std::lock_guard lock(shard.mutex);
    bytes = shard.smaller_table_bytes(fit);
  }
  if (bytes != 0 && budget_.try_charge_or_exceed(bytes)) replace_table(shard, bytes, [&] { return shard.smaller_table_bytes(fit); });
}

std::size_t MemoryTier::pop_victims(std::span<Entry*> victims, bool& others_evict) {
  const std::lock_guard lock(policy_mutex_);
  flush_all_uses();
  const std::size_t wanted = std::clamp<std::size_t>(linked_ / kEntriesForEachVictim, 1, victims.size());
  std::size_t count = 0;
  while (count < wanted) {
    policy::PolicyNode* node = policy_->pop();
    if (node == nullptr) break;
    auto* entry = static_cast<Entry*>(node);
    if (count > 0 && entry->state.is_referred_to()) {   // for the next time: what it waits for may be among these
      policy_->restore(*entry);
      break;
    }
    entry->state.pop();   // whatever is in the policy's hands is alive; the pin keeps it so until its shard is locked
    --linked_;
    victims[count++] = entry;
  }
  end_kept();
  others_evict = evicting_.load() != 0;
  evicting_.fetch_add(count);
  return count;
}

bool MemoryTier::evict() {
  const MakingRoom making_room;
  std::array<Entry*, kMaxVictims> room;
  for (;;) {
    bool others_evict = false;
    const std::span<Entry*> victims = std::span(room).first(pop_victims(room, others_evict));
    if (victims.empty()) {
      if (!others_evict) return false;
      std::this_thread::yield();   // another thread has the last ones in hand, and may free their parents or put them back
      continue;
    }
    Garbage garbage;
    for (Entry* victim : victims) {
      // If the last reference of one that could not go went meanwhile, this puts it back into the policy's hands.
      if (!take_out(*victim, garbage) && drop(*victim, kPin)) reclaim(victim);
    }
    const bool evicted = garbage.entries != nullptr;
    sweep(garbage, Spare::kYes);
    evicting_.fetch_sub(victims.size());
    if (evicted) return true;
  }
}

void MemoryTier::fit_capacity() {
  for (;;) {
    const std::uint64_t used = budget_.used(), capacity = budget_.capacity();
    if (used <= capacity || !free_some(used - capacity)) return;
  }
}

// For whoever let go of something: not if another thread is at it, who will look again. A reader must not do the work of a resize().
void MemoryTier::trim() {
  if (trims_.fetch_add(1) == 0) trim_until_none_asks();
}

void MemoryTier::trim_until_none_asks() {
  std::uint32_t asked = 0;
  do {
    asked = trims_.load();
    fit_capacity();
  } while (!trims_.compare_exchange_strong(asked, 0));
}

void MemoryTier::resize(std::uint64_t capacity_bytes) {
  const std::uint64_t used_before = budget_.used();
  const bool alone = trims_.fetch_add(1) == 0;
  {
    const std::lock_guard lock(policy_mutex_);   // of two at once the budget and the policy follow the same one
    budget_.set_capacity(capacity_bytes);
    policy_->resize(capacity_bytes);
    if (policy_account_.has_too_much()) policy_->shed();
  }
  if (budget_.over()) {   // tables before entries; later each table follows its entries
    for (Shard& shard : index_.shards()) shrink_table(shard);
  }
  alone ? trim_until_none_asks() : fit_capacity();
  trim_malloc(used_before);
}

// malloc keeps what is freed below the top of its heaps until it is told. That takes some 0.1 s for a GiB, so not for a little.
void MemoryTier::trim_malloc([[maybe_unused]] std::uint64_t used_before) const {
#if defined(__GLIBC__)
  constexpr std::uint64_t kMinBytes = std::uint64_t{8} << 20;
  if (budget_.used() + kMinBytes <= used_before) ::malloc_trim(0);
#endif
}

}   // namespace tensorcache::memory
