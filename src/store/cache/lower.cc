#include "store/cache/lower.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <stdexcept>
#include <vector>

namespace tensorcache {
namespace {

constexpr std::uint64_t kMinCapacity = std::uint64_t{1} << 20;
constexpr std::uint64_t kMaxQueued = std::uint64_t{256} << 20;
constexpr std::chrono::seconds kWaitForRemovals{1};   // of a caller, while the disk is behind with removals

std::int64_t system_unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}   // namespace

disk::DiskTierOptions Cache::Lower::tier_options(const DiskOptions& options, const std::shared_ptr<memory::MemoryTier>& memory) {
  if (options.directory.empty()) throw std::invalid_argument("disk.directory: must not be empty");
  if (options.capacity_bytes < kMinCapacity) throw std::invalid_argument("disk.capacity_bytes: must be at least 1 MiB");
  disk::DiskTierOptions tier;
  tier.directory = options.directory;
  tier.capacity_bytes = options.capacity_bytes;
  tier.sync = options.sync;
  tier.queue_bytes = options.queue_bytes > 0 ? options.queue_bytes : std::min(kMaxQueued, memory->stats().capacity_bytes / 8);
  tier.segment_bytes = options.segment_bytes;
  tier.index_bytes_limit = memory->stats().capacity_bytes / kIndexShare;
  if (options.file_system) tier.files = options.file_system;
  tier.unix_ms = options.unix_ms ? options.unix_ms : system_unix_ms;
  tier.on_event = options.on_event;
  // The tier goes before the memory does, and both before these.
  memory::MemoryTier* const raw = memory.get();
  tier.charge = [raw](std::uint64_t bytes) { return raw->charge(bytes); };
  tier.give_back = [raw](std::uint64_t bytes) { raw->give_back(bytes); };
  tier.in_memory = [raw](const Key& key) { return raw->contains(key); };
  return tier;
}

Cache::Lower::Lower(const DiskOptions& options, std::shared_ptr<memory::MemoryTier> memory)
    : memory_(std::move(memory)),
      unix_ms_(options.unix_ms ? options.unix_ms : system_unix_ms),
      disk(tier_options(options, memory_)),
      loader(*memory_, disk, unix_ms_) {}

bool Cache::Lower::put(const Handle& handle) {
  const memory::Entry& entry = memory::MemoryTier::entry_of(handle);
  disk::DiskTier::Value value;
  value.key = entry.key();
  value.bytes = handle.bytes();
  value.holder = std::make_shared<Handle>(memory_->share(handle));
  value.kind = entry.kind;
  value.owner = entry.owner;
  value.source = entry.source;
  if (entry.parent != nullptr) value.parent = entry.above()->key();
  value.created_unix_ms = unix_ms_() - handle.age().count();
  if (const auto time_to_live = entry.lifetime.time_to_live(); time_to_live.count() != 0) {
    value.expires_unix_ms = value.created_unix_ms + time_to_live.count();
  }
  // What was forgotten meanwhile stays forgotten.
  const bool queued = loader.unchanged([&] { return memory::MemoryTier::is_gone(handle) || disk.put(std::move(value)); });
  if (!queued) dropped_ = true;
  return queued;
}

Lookup Cache::Lower::counted(Lookup lookup) {
  if (lookup.unavailable) unavailable_.fetch_add(1, std::memory_order_relaxed);
  return lookup;
}

Lookup Cache::Lower::find(const Key& key, std::uint64_t changes) {
  using Presence = disk::DiskTier::Presence;
  const Presence presence = disk.presence(key);
  if (presence == Presence::kUnknown) return counted({Handle(), true});
  if (presence == Presence::kStored) return counted(loader.fetch(key));
  // It may have gone up and left the disk since memory was asked.
  if (Handle handle = memory_->get(key, memory::MemoryTier::Count::kNo)) return {std::move(handle), false};
  if (changes % 2 == 0 && changes == loader.changes()) return {};
  // A change was under way, perhaps of this key: ask when it is over.
  Handle handle = loader.unchanged([&] { return memory_->get(key, memory::MemoryTier::Count::kNo); });
  if (handle) return {std::move(handle), false};
  return disk.contains(key) ? counted(loader.fetch(key)) : Lookup();
}

bool Cache::Lower::contains(const Key& key, std::uint64_t changes) {
  if (disk.contains(key) || memory_->contains(key)) return true;
  if (changes % 2 == 0 && changes == loader.changes()) return false;
  return loader.unchanged([&] { return memory_->contains(key) || disk.contains(key); });
}

PutStatus Cache::Lower::replace(Reservation draft, Handle* stored) {
  const Key key = memory::MemoryTier::key_of(draft);
  static_cast<void>(disk.wait_for_room(kWaitForRemovals));
  return loader.changing([&] {
    if (disk.has_children(key)) return PutStatus::kAlreadyStored;
    const PutStatus status = memory_->commit(std::move(draft), stored);
    if (status != PutStatus::kStored) return status;
    try {
      static_cast<void>(disk.remove(key));
    } catch (...) {   // else the older one would be found again once this one leaves memory
      static_cast<void>(memory_->remove(key));
      throw;
    }
    return status;
  });
}

bool Cache::Lower::remove(const Key& key) {
  static_cast<void>(disk.wait_for_room(kWaitForRemovals));
  return loader.changing([&] {
    const bool on_disk = disk.remove(key);
    return memory_->remove(key) || on_disk;
  });
}

// Without keeping changes out all the time: once the disk has forgotten, nothing comes up from there, but for what was about to; and once memory
// has, nothing goes down, but for what was about to, which the disk still takes for a part of what is cleared.
std::uint64_t Cache::Lower::clear(const Selection& what) {
  disk::Selected selected{what.owner, what.source, {}, {}};
  if (what.older_than) selected.until_unix_ms = unix_ms_() - what.older_than->count();
  const auto let_pass = [this] { loader.unchanged([] {}); };
  std::uint64_t in_memory = 0;
  const std::uint64_t on_disk = disk.clear(std::move(selected), [&] {
    let_pass();
    in_memory = memory_->clear(what);
    let_pass();
  });
  return std::max(on_disk, in_memory);   // nearly all that is in memory is on disk too
}

// What cannot be queued is dropped, for lack of memory too: the value is stored in memory.
void Cache::Lower::write(const Handle& stored) {
  try {
    write_with_parents(stored);
  } catch (const std::bad_alloc&) {
    dropped_ = true;
  }
}

// A parent may be in memory alone: its write was dropped, or it was evicted from the disk.
void Cache::Lower::write_with_parents(const Handle& stored) {
  std::vector<Handle> missing;
  const memory::Entry* entry = &memory::MemoryTier::entry_of(stored);
  const bool accepts = disk.accepts(stored.bytes().size());   // else a look for parents would walk the whole chain for nothing
  while (accepts && entry->parent != nullptr && !disk.knows(entry->above()->key())) {
    Handle parent = memory_->get(entry->above()->key(), memory::MemoryTier::Count::kNo);
    if (!parent) break;
    entry = &memory::MemoryTier::entry_of(parent);
    missing.push_back(std::move(parent));
  }
  for (auto handle = missing.rbegin(); handle != missing.rend(); ++handle) {
    if (!put(*handle)) return;
  }
  static_cast<void>(put(stored));
}

}   // namespace tensorcache
