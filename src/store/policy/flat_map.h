// A hash table in one array: linear probing, no tombstones. About 28 bytes for each key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "store/policy/memory_account.h"

namespace tensorcache::policy {

// From keys that are hashes already to pointers. No throw.
template <class T>
class FlatMap {
 public:
  FlatMap() = default;
  ~FlatMap() { memory_.give_back_array(slots_, capacity_); }
  FlatMap(const FlatMap&) = delete;
  FlatMap& operator=(const FlatMap&) = delete;

  void use_memory(MemoryAccount& account) { memory_ = Memory(account); }   // while it is empty
  [[nodiscard]] std::size_t size() const { return size_; }
  // Null if it is not there.
  [[nodiscard]] T* find(std::uint64_t key) const {
    if (size_ == 0) return nullptr;
    for (std::size_t i = home(key);; i = next(i)) {
      if (slots_[i].value == nullptr || slots_[i].key == key) return slots_[i].value;
    }
  }
  // Brings the place of a key that is looked for soon into the processor's cache.
  void prefetch(std::uint64_t key) const {
    if (size_ > 0) __builtin_prefetch(&slots_[home(key)]);
  }
  // Of a key that is not there yet. False: no memory.
  [[nodiscard]] bool insert(std::uint64_t key, T* value) noexcept {
    if (4 * (size_ + 1) > 3 * capacity_ && !grow()) return false;
    place({key, value});
    ++size_;
    return true;
  }
  void erase(std::uint64_t key) noexcept {
    if (size_ == 0) return;
    std::size_t i = home(key);
    for (; slots_[i].key != key || slots_[i].value == nullptr; i = next(i)) {
      if (slots_[i].value == nullptr) return;
    }
    // What follows moves up, unless that would put it before its home.
    for (std::size_t j = next(i); slots_[j].value != nullptr; j = next(j)) {
      const std::size_t from_home = (j - home(slots_[j].key)) & mask(), from_gap = (j - i) & mask();
      if (from_home < from_gap) continue;
      slots_[i] = slots_[j];
      i = j;
    }
    slots_[i].value = nullptr;
    --size_;
  }
  // Gives its memory back if it is empty.
  void shed() noexcept {
    if (size_ != 0) return;
    memory_.give_back_array(slots_, capacity_);
    slots_ = nullptr;
    capacity_ = 0;
  }

 private:
  static constexpr std::size_t kMinSlots = 8;
  struct Slot {
    std::uint64_t key = 0;
    T* value = nullptr;
  };
  [[nodiscard]] std::size_t mask() const { return capacity_ - 1; }
  [[nodiscard]] std::size_t home(std::uint64_t key) const { return (key * 0x9E3779B97F4A7C15u >> 20) & mask(); }
  [[nodiscard]] std::size_t next(std::size_t i) const { return (i + 1) & mask(); }
  void place(const Slot& slot) {
    std::size_t i = home(slot.key);
    while (slots_[i].value != nullptr) i = next(i);
    slots_[i] = slot;
  }
  bool grow() noexcept {
    const std::size_t wanted = capacity_ == 0 ? kMinSlots : 2 * capacity_;
    Slot* const larger = memory_.template take_array<Slot>(wanted);
    if (larger == nullptr) return false;
    Slot* const old = std::exchange(slots_, larger);
    const std::size_t old_capacity = std::exchange(capacity_, wanted);
    for (std::size_t i = 0; i < old_capacity; ++i) {
      if (old[i].value != nullptr) place(old[i]);
    }
    memory_.give_back_array(old, old_capacity);
    return true;
  }

  Memory memory_;
  Slot* slots_ = nullptr;
  std::size_t capacity_ = 0, size_ = 0;   // capacity: a power of two, or none
};

}   // namespace tensorcache::policy
