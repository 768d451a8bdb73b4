#include "store/cache/write_backlog.h"

namespace tensorcache::cache {

bool WriteBacklog::push(const Key& key, std::uint64_t value_bytes) {
  std::list<Item> node(1, Item{key, value_bytes, 0});   // allocates before the lock
  const MutexLock lock(mutex_);
  if (places_.contains(key)) return true;
  if (places_.size() >= kMaxKeys) return false;
  places_.emplace(key, node.begin());
  node.front().number = ++pushes_;
  bytes_ += value_bytes;
  items_.splice(items_.end(), node);
  return true;
}

std::optional<WriteBacklog::Item> WriteBacklog::front() const {
  const MutexLock lock(mutex_);
  if (items_.empty()) return std::nullopt;
  return items_.front();
}

void WriteBacklog::erase(const Item& item) {
  const MutexLock lock(mutex_);
  const auto place = places_.find(item.key);
  if (place == places_.end() || place->second->number != item.number) return;
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

void WriteBacklog::erase(const Key& key) {
  const MutexLock lock(mutex_);
  const auto place = places_.find(key);
  if (place == places_.end()) return;
  bytes_ -= place->second->value_bytes;
  items_.erase(place->second);
  places_.erase(place);
}

void WriteBacklog::erase_if(const std::function<bool(const Key&)>& is_gone) {
  const MutexLock lock(mutex_);
  for (auto item = items_.begin(); item != items_.end();) {
    if (!is_gone(item->key)) {
      ++item;
      continue;
    }
    bytes_ -= item->value_bytes;
    places_.erase(item->key);
    item = items_.erase(item);
  }
}

bool WriteBacklog::empty() const {
  const MutexLock lock(mutex_);
  return items_.empty();
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
