// Pinned values: a stored value (Handle), a leading run of a chain (PrefixMatch), and space for a
// value that is being written (Reservation).
//
//   tensorcache::Handle hit = cache.get(key);
//   if (hit) use(hit.bytes());   // valid until `hit` is reset, assigned or destroyed
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tensorcache/attributes.h"
#include "tensorcache/hints.h"
#include "tensorcache/key.h"
#include "tensorcache/types.h"

namespace tensorcache {

class Cache;
namespace memory {
struct Entry;
class MemoryTier;
}   // namespace memory

// A pinned, read-only view of a stored value: it is not evicted, moved or freed while a handle
// holds it, not even by remove(), clear() or the destruction of the cache. Move-only; empty after a
// miss.
// THREADS: different handles may be used from different threads. COST: a few atomic operations.
class Handle {
 public:
  Handle() = default;
  Handle(Handle&& other) noexcept : tier_(other.tier_), entry_(std::exchange(other.entry_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      reset();
      tier_ = other.tier_;
      entry_ = std::exchange(other.entry_, nullptr);
    }
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }

  [[nodiscard]] explicit operator bool() const { return entry_ != nullptr; }
  // RETURNS the value, 64-byte aligned. Empty for an empty handle.
  [[nodiscard]] std::span<const std::byte> bytes() const TENSORCACHE_LIFETIME_BOUND;
  [[nodiscard]] std::string_view text() const TENSORCACHE_LIFETIME_BOUND;   // the same bytes as characters
  // RETURNS the time since the value was stored.
  [[nodiscard]] std::chrono::milliseconds age() const;
  // Releases the pin; the handle is empty afterwards.
  void reset() {
    if (entry_ != nullptr) unpin();
  }

 private:
  friend class Cache;
  friend class memory::MemoryTier;
  void unpin();
  Handle(memory::MemoryTier* tier, memory::Entry* entry) : tier_(tier), entry_(entry) {}
  memory::MemoryTier* tier_ = nullptr;   // lives as long as any of its values does
  memory::Entry* entry_ = nullptr;
};

// The result of a lookup.
struct Lookup {
  Handle value;
  // The value is, or may be, on disk and could not be loaded into memory: all memory is pinned, the
  // read failed, or recovery is in progress. It does not mean that nothing is stored.
  bool unavailable = false;
};

// A pinned leading run of a chain. It pins its last block; a parent is never evicted before its
// children.
class PrefixMatch {
 public:
  PrefixMatch() = default;
  // The source is empty afterwards.
  PrefixMatch(PrefixMatch&& other) noexcept : last_(std::move(other.last_)), size_(std::exchange(other.size_, 0)) {}
  PrefixMatch& operator=(PrefixMatch&& other) noexcept {
    last_ = std::move(other.last_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  // RETURNS the blocks in the order of the chain, 64-byte aligned, valid as long as this object.
  // COST: one or two CPU cache misses per block.
  [[nodiscard]] std::vector<std::span<const std::byte>> blocks() const TENSORCACHE_LIFETIME_BOUND;

 private:
  friend class memory::MemoryTier;
  PrefixMatch(Handle last, std::size_t size) : last_(std::move(last)), size_(size) {}
  Handle last_;
  std::size_t size_ = 0;
};

// Space for a value that is being written: charged to the budget, and not visible before
// Cache::commit(). Write into bytes(), then commit. Destroying it without a commit frees the space.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation();

  [[nodiscard]] explicit operator bool() const { return entry_ != nullptr; }
  // RETURNS the writable space, 64-byte aligned, not zeroed.
  [[nodiscard]] std::span<std::byte> bytes() const TENSORCACHE_LIFETIME_BOUND;
  // RETURNS why the reservation is empty.
  [[nodiscard]] PutStatus status() const { return status_; }

 private:
  friend class Cache;
  friend class memory::MemoryTier;
  memory::MemoryTier* tier_ = nullptr;
  memory::Entry* entry_ = nullptr;
  PutStatus status_ = PutStatus::kNoSpace;
  std::optional<Key> parent_;
  Hints hints_;
  bool replaces_ = false, urgent_ = false;
};

}   // namespace tensorcache
