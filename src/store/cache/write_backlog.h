// Keys of values that a lower tier had no room for when they were stored, oldest first. They are
// written when the tier has room, if they are still in memory then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <unordered_map>

#include "base/core/mutex.h"
#include "tensorcache/key.h"

namespace tensorcache::cache {

// THREADS: all members from any thread. COST: about 130 bytes for each key.
class WriteBacklog {
 public:
  static constexpr std::size_t kMaxKeys = 65'536;
  struct Item {
    Key key;
    std::uint64_t value_bytes = 0;
    std::uint64_t number = 0;   // counts the pushes
  };

  // RETURNS false if the backlog is full. A key that is in it already keeps its place.
  [[nodiscard]] bool push(const Key& key, std::uint64_t value_bytes);
  // RETURNS the oldest item, which stays: a value waits until it is queued.
  [[nodiscard]] std::optional<Item> front() const;
  // Erases this push of the key, not a later one.
  void erase(const Item& item);
  void erase(const Key& key);
  // RETURNS the number of erased keys.
  std::size_t clear();
  // Erases the keys for which `is_gone`. REQUIRES: it does not use this object.
  void erase_if(const std::function<bool(const Key&)>& is_gone);

  [[nodiscard]] bool empty() const;
  // RETURNS the size of all waiting values.
  [[nodiscard]] std::uint64_t bytes() const;
  // RETURNS the number of the latest push; the number of the oldest item, if there is one.
  [[nodiscard]] std::uint64_t last_number() const;
  [[nodiscard]] std::optional<std::uint64_t> oldest_number() const;

 private:
  mutable Mutex mutex_;
  std::list<Item> items_ TC_GUARDED_BY(mutex_);
  std::unordered_map<Key, std::list<Item>::iterator> places_ TC_GUARDED_BY(mutex_);
  std::uint64_t pushes_ TC_GUARDED_BY(mutex_) = 0, bytes_ TC_GUARDED_BY(mutex_) = 0;
};

}   // namespace tensorcache::cache
