#include "tensorcache/cache_manager.h"

#include "library/tensor/tensor_cache_impl.h"

namespace tensorcache {

CacheManager::CacheManager(const TensorCacheOptions& options) : shared_(std::make_shared<tensor::Shared>(options.store)) {
  caches_[options.name] = std::unique_ptr<TensorCache>(new TensorCache(shared_, options.name, options.capacity_entries));
}

// A refresh of one cache may use or refresh another one: stop all refreshes first.
CacheManager::~CacheManager() { stop_refreshes(); }

void CacheManager::stop_refreshes() {
  std::unique_lock lock(mutex_);
  for (const auto& [name, cache] : caches_) {
    lock.unlock();
    cache->impl_->refresher.stop();
    lock.lock();
  }
}

TensorCache& CacheManager::cache(const std::string& name, std::uint64_t capacity_entries) {
  const std::lock_guard lock(mutex_);
  auto found = caches_.find(name);
  if (found == caches_.end()) {
    std::unique_ptr<TensorCache> made(new TensorCache(shared_, name, capacity_entries));
    found = caches_.emplace(name, std::move(made)).first;
  }
  return *found->second;
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

void CacheManager::resize(std::uint64_t capacity_bytes) { shared_->cache.resize(capacity_bytes); }

bool CacheManager::flush(std::chrono::milliseconds time) { return shared_->cache.flush(time); }

bool CacheManager::close(std::chrono::milliseconds time) {
  stop_refreshes();
  return shared_->cache.close(time);
}

}   // namespace tensorcache
