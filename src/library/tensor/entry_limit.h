// Limits the number of entries: records uses of keys and selects the least recently used ones.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "tensorcache/key.h"

namespace tensorcache::tensor {

// THREADS: all members from any thread. The caller that exceeds the limit evicts the excess. COST:
// O(1) without a limit.
class EntryLimit {
 public:
  explicit EntryLimit(std::uint64_t capacity) : capacity_(capacity) {}

  [[nodiscard]] bool is_set() const { return capacity_.load(std::memory_order_relaxed) != 0; }

  // Records a use, also of a new key (as after a restart). Skipped if another thread holds the
  // lock: an exact order is not worth waiting for. RETURNS true if there are too many entries now.
  [[nodiscard]] bool touch(const Key& key) {
    if (!is_set()) return false;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock) use_locked(key);
    return lock && order_.size() > capacity_;
  }
  void insert(const Key& key) {
    if (!is_set()) return;
    const std::lock_guard lock(mutex_);
    use_locked(key);
  }
  // Removes and RETURNS the least recently used key if there are too many.
  [[nodiscard]] std::optional<Key> take_excess() {
    if (!is_set()) return std::nullopt;
    const std::lock_guard lock(mutex_);
    if (order_.size() <= capacity_) return std::nullopt;
    const Key key = order_.back();
    where_.erase(key);
    order_.pop_back();
    return key;
  }
  // 0: no limit.
  void resize(std::uint64_t capacity) {
    const std::lock_guard lock(mutex_);
    capacity_ = capacity;
    if (capacity == 0) clear_locked();
  }
  void erase(const Key& key) {
    if (!is_set()) return;
    const std::lock_guard lock(mutex_);
    const auto found = where_.find(key);
    if (found == where_.end()) return;
    order_.erase(found->second);
    where_.erase(found);
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    clear_locked();
  }
  [[nodiscard]] bool contains(const Key& key) const {
    const std::lock_guard lock(mutex_);
    return where_.contains(key);
  }

 private:
  void use_locked(const Key& key) {
    if (const auto found = where_.find(key); found != where_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return;
    }
    std::list<Key> added(1, key);
    where_.emplace(key, added.begin());
    order_.splice(order_.begin(), added);
  }
  void clear_locked() {
    order_.clear();
    where_.clear();
  }

  std::atomic<std::uint64_t> capacity_;
  mutable std::mutex mutex_;
  std::list<Key> order_;   // most recently used first
  std::unordered_map<Key, std::list<Key>::iterator> where_;
};

}   // namespace tensorcache::tensor
