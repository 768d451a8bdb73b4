#include "tensorcache/cache_manager.h"

#include "tensor/shared.h"

namespace tensorcache {

CacheManager::CacheManager(const TensorCacheOptions& options) : shared_(std::make_shared<tensor::Shared>(options.store)) {
  caches_[options.name] = std::unique_ptr<TensorCache>(new TensorCache(shared_, options.name, options.capacity_entries));
}

TensorCache& CacheManager::cache(const std::string& name, std::uint64_t capacity_entries) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<TensorCache>& slot = caches_[name];
  if (!slot) slot.reset(new TensorCache(shared_, name, capacity_entries));
  return *slot;
}

std::vector<std::string> CacheManager::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  names.reserve(caches_.size());
  for (const auto& [name, cache] : caches_) names.push_back(name);
  return names;
}

std::uint64_t CacheManager::clear() {
  const std::lock_guard lock(mutex_);
  std::uint64_t gone = 0;
  for (const auto& [name, cache] : caches_) gone += cache->clear();
  return gone;
}

void CacheManager::resize(std::uint64_t capacity_bytes) {
  shared_->capacity_bytes = capacity_bytes;
  shared_->cache.resize(capacity_bytes);
}

bool CacheManager::flush(std::chrono::milliseconds time) { return shared_->cache.flush(time); }

}   // namespace tensorcache
