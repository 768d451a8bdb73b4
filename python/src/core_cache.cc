#include "core_cache.h"

#include <pthread.h>

#include <chrono>
#include <mutex>
#include <stdexcept>

namespace tensorcache::python {
namespace {

std::atomic<std::uint64_t> fork_count{0};

constexpr std::chrono::seconds kLastWrites{5};

// One for all caches, so that a manager's last cache is recognised. A second close() waits for the
// first.
std::mutex& closing_mutex() {
  static std::mutex mutex;
  return mutex;
}

}   // namespace

std::uint64_t forks() { return fork_count.load(std::memory_order_relaxed); }

void watch_forks() {
  pthread_atfork(nullptr, nullptr, [] { fork_count.fetch_add(1, std::memory_order_relaxed); });
}

CoreCache::CoreCache(std::shared_ptr<CacheManager> manager, const std::string& name, std::uint64_t entries, bool disk)
    : manager_(std::move(manager)), disk_(disk) {
  const Unlocked unlocked(true);
  cache_ = &manager_->cache(name, entries);
}

void CoreCache::require_usable() const {
  if (forks_ != forks()) {
    throw std::runtime_error("this cache was opened before the process was forked; open a separate cache in the child (on disk: with another path)");
  }
  if (closed_) throw py::value_error("the cache is closed");
}

std::unique_ptr<CoreCache> CoreCache::named(const std::string& name, std::uint64_t entries) const {
  require_usable();
  return std::make_unique<CoreCache>(manager_, name, entries, disk_);
}

bool CoreCache::close() {
  if (forks_ != forks()) {   // a forked child: the cache's threads do not exist here and its locks may be held for ever; touch nothing
    if (manager_) new std::shared_ptr<CacheManager>(std::move(manager_));
    closed_ = true;
    return nothing_comes_back_;
  }
  closed_ = true;
  const Unlocked unlocked(true);
  for (int users = users_.load(); users != 0; users = users_.load()) users_.wait(users);
  const std::lock_guard lock(closing_mutex());
  if (manager_ && manager_.use_count() == 1) nothing_comes_back_ = manager_->close(kLastWrites);
  manager_.reset();
  return nothing_comes_back_;
}

}   // namespace tensorcache::python
