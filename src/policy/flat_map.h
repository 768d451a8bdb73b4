// A hash table in one array: linear probing, no tombstones. About 28 bytes for each key.
#pragma once

#include <cstdint>
#include <new>
#include <utility>
#include <vector>

namespace tensorcache {

// From keys that are hashes already to pointers. No throw.
template <class T>
class FlatMap {
 public:
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
    if (4 * (size_ + 1) > 3 * slots_.size() && !grow()) return false;
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

 private:
  struct Slot {
    std::uint64_t key = 0;
    T* value = nullptr;
  };
  [[nodiscard]] std::size_t mask() const { return slots_.size() - 1; }
  [[nodiscard]] std::size_t home(std::uint64_t key) const { return (key * 0x9E3779B97F4A7C15u >> 20) & mask(); }
  [[nodiscard]] std::size_t next(std::size_t i) const { return (i + 1) & mask(); }
  void place(const Slot& slot) {
    std::size_t i = home(slot.key);
    while (slots_[i].value != nullptr) i = next(i);
    slots_[i] = slot;
  }
  bool grow() noexcept {
    std::vector<Slot> old;
    try {
      old.resize(slots_.empty() ? 64 : 2 * slots_.size());
    } catch (const std::bad_alloc&) {
      return false;
    }
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.value != nullptr) place(slot);
    }
    return true;
  }

  std::vector<Slot> slots_;   // a power of two
  std::size_t size_ = 0;
};

}   // namespace tensorcache
