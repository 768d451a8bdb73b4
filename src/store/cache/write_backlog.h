// Keys of values that a lower tier had no room for when they were stored, oldest first. They are
// written when the tier has room, if they are still in memory then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

#include "base/core/mutex.h"
#include "store/memory/entry.h"
#include "tensorcache/key.h"

namespace tensorcache::cache {

// THREADS: all members from any thread. COST: about 150 bytes for each key.
class WriteBacklog {
 public:
  static constexpr std::size_t kMaxKeys = 65'536;
  struct Item {
    Key key;
    std::uint64_t value_bytes = 0;
    memory::Lifetime lifetime;
    std::uint64_t number = 0, latest = 0;   // of its first and last push: they count all pushes
    unsigned returns = 0;                   // times that the tier handed it back
  };

  // RETURNS the item as it is now; nothing if the backlog is full. A key that is in it already keeps
  // its place.
  [[nodiscard]] std::optional<Item> push(const Key& key, std::uint64_t value_bytes, const memory::Lifetime& lifetime, unsigned returns);
  // RETURNS the oldest item, which stays: a value waits until it is queued.
  [[nodiscard]] std::optional<Item> front() const;
  [[nodiscard]] std::optional<Item> find(const Key& key) const;
  // Erases the key if it was not pushed again since. RETURNS whether it was erased.
  bool erase(const Item& item) noexcept;
  void erase(const Key& key) noexcept;
  // RETURNS the number of erased keys.
  std::size_t clear();

  // RETURNS true if the key is there and was not pushed again since.
  [[nodiscard]] bool holds(const Item& item) const;
  // RETURNS the size of all waiting values.
  [[nodiscard]] std::uint64_t bytes() const;
  // RETURNS the number of the latest push; the number of the oldest item, if there is one.
  [[nodiscard]] std::uint64_t last_number() const;
  [[nodiscard]] std::optional<std::uint64_t> oldest_number() const;

 private:
  using Places = std::unordered_map<Key, std::list<Item>::iterator>;
  void erase_locked(Places::iterator place) noexcept TC_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::list<Item> items_ TC_GUARDED_BY(mutex_);
  Places places_ TC_GUARDED_BY(mutex_);
  std::uint64_t pushes_ TC_GUARDED_BY(mutex_) = 0, bytes_ TC_GUARDED_BY(mutex_) = 0;
};

}   // namespace tensorcache::cache
