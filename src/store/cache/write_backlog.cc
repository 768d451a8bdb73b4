#include "store/cache/write_backlog.h"

namespace tensorcache::cache {

std::optional<WriteBacklog::Item> WriteBacklog::push(const Key& key, std::uint64_t value_bytes, const memory::Lifetime& lifetime, unsigned returns) {
  std::list<Item> node(1, Item{key, value_bytes, lifetime, 0, 0, returns});   // allocates before the lock
  const MutexLock lock(mutex_);
  if (const auto place = places_.find(key); place != places_.end()) {
    Item& item = *place->second;
    bytes_ += value_bytes - item.value_bytes;
    item.value_bytes = value_bytes;
    item.lifetime = lifetime;
    item.latest = ++pushes_;
    item.returns = returns;
    return item;
  }
  if (places_.size() >= kMaxKeys) return std::nullopt;
  places_.emplace(key, node.begin());
  node.front().number = node.front().latest = ++pushes_;
  bytes_ += value_bytes;
  items_.splice(items_.end(), node);
  return items_.back();
}

std::optional<WriteBacklog::Item> WriteBacklog::front() const {
  const MutexLock lock(mutex_);
  if (items_.empty()) return std::nullopt;
  return items_.front();
}

std::optional<WriteBacklog::Item> WriteBacklog::find(const Key& key) const {
  const MutexLock lock(mutex_);
  const auto place = places_.find(key);
  return place == places_.end() ? std::nullopt : std::optional<Item>(*place->second);
}

bool WriteBacklog::erase(const Item& item) noexcept {
  const MutexLock lock(mutex_);
  const auto place = places_.find(item.key);
  if (place == places_.end() || place->second->latest != item.latest) return false;
  erase_locked(place);
  return true;
}

void WriteBacklog::erase(const Key& key) noexcept {
  const MutexLock lock(mutex_);
  if (const auto place = places_.find(key); place != places_.end()) erase_locked(place);
}

void WriteBacklog::erase_locked(Places::iterator place) noexcept {
  bytes_ -= place->second->value_bytes;
  items_.erase(place->second);
  places_.erase(place);
}

std::size_t WriteBacklog::clear() {
  const MutexLock lock(mutex_);
  const std::size_t keys = places_.size();
  places_.clear();
  items_.clear();
  bytes_ = 0;
  return keys;
}

bool WriteBacklog::holds(const Item& item) const {
  const MutexLock lock(mutex_);
  const auto place = places_.find(item.key);
  return place != places_.end() && place->second->latest == item.latest;
}

std::uint64_t WriteBacklog::bytes() const {
  const MutexLock lock(mutex_);
  return bytes_;
}

std::uint64_t WriteBacklog::last_number() const {
  const MutexLock lock(mutex_);
  return pushes_;
}

std::optional<std::uint64_t> WriteBacklog::oldest_number() const {
  const MutexLock lock(mutex_);
  if (items_.empty()) return std::nullopt;
  return items_.front().number;
}

}   // namespace tensorcache::cache
