// Pinned values: one that is stored, a leading run of a chain, and space for one that is being written.
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

#include "tensorcache/hints.h"
#include "tensorcache/key.h"
#include "tensorcache/types.h"

namespace tensorcache {

class Cache;
namespace memory {
struct Entry;
class MemoryTier;
}   // namespace memory

// A pinned, read-only view of a stored value: never evicted, moved or freed while a handle holds it, not even by
// remove(), clear() or the cache's own destruction. Move-only; empty after a miss. Cheap (a few atomic operations).
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
  // The value. 64-byte aligned. Empty for an empty handle.
  [[nodiscard]] std::span<const std::byte> bytes() const;
  [[nodiscard]] std::string_view text() const;   // the same bytes as characters
  // Since it was stored.
  [[nodiscard]] std::chrono::milliseconds age() const;
  void reset() {
    if (entry_ != nullptr) let_go();
  }

 private:
  friend class Cache;
  friend class memory::MemoryTier;
  void let_go();
  Handle(memory::MemoryTier* tier, memory::Entry* entry) : tier_(tier), entry_(entry) {}
  memory::MemoryTier* tier_ = nullptr;   // lives as long as any of its values does
  memory::Entry* entry_ = nullptr;
};

// What a lookup found.
struct Lookup {
  Handle value;
  // The value is on disk and could not be brought into memory: everything there is pinned, reading failed, or the directory is still being
  // read after the start. Nothing is known of it then; in particular not that nothing is stored.
  bool unavailable = false;
};

// A leading run of a chain, pinned as a Handle pins one value: its last block is, and what a block is chained behind never goes before it.
class PrefixMatch {
 public:
  PrefixMatch() = default;
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  // The blocks in the order of the chain, as long as this lives. 64-byte aligned. Cost: a cache miss or two for each.
  [[nodiscard]] std::vector<std::span<const std::byte>> blocks() const;

 private:
  friend class memory::MemoryTier;
  PrefixMatch(Handle last, std::size_t size) : last_(std::move(last)), size_(size) {}
  Handle last_;
  std::size_t size_ = 0;
};

// Space for a value that is being written, already charged to the budget and not yet visible. Write into bytes(), then
// Cache::commit. Dropping it gives the space back.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation();

  [[nodiscard]] explicit operator bool() const { return entry_ != nullptr; }
  // Writable, 64-byte aligned, not zeroed.
  [[nodiscard]] std::span<std::byte> bytes() const;
  // Why there is no space, where the draft is empty.
  [[nodiscard]] PutStatus status() const { return status_; }

 private:
  friend class Cache;
  friend class memory::MemoryTier;
  memory::MemoryTier* tier_ = nullptr;
  memory::Entry* entry_ = nullptr;
  PutStatus status_ = PutStatus::kNoSpace;
  std::optional<Key> parent_;
  Hints hints_;
  bool replaces_ = false;
};

}   // namespace tensorcache
