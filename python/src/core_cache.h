// A TensorCache, alone or of a CacheManager, with protection from wrong use in Python: after
// close(), in a forked child, close() during another thread's call, or interpreter exit during a
// call.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "core.h"
#include "tensorcache/cache_manager.h"

namespace tensorcache::python {

class CoreCache {
 public:
  CoreCache(std::shared_ptr<CacheManager> manager, const std::string& name, std::uint64_t entries, bool disk);
  ~CoreCache() { close(); }
  CoreCache(const CoreCache&) = delete;
  CoreCache& operator=(const CoreCache&) = delete;

  // Calls `action(cache)`; without the GIL if `long_work`, or if other calls run without it,
  // because it may wait for one of them. close() waits for it. REQUIRES: `action` runs no Python
  // code.
  template <class Action>
  auto call(bool long_work, const Action& action) const {
    const Inside inside(
        *this, long_work || unlocked_.load() > 0);   // destroyed after the GIL is reacquired, so that the interpreter does not exit in between
    const Unlocked unlocked(inside.without_gil);
    return action(*cache_);
  }
  template <class Action>
  auto call(const Action& action) const {
    return call(true, action);
  }

  // Throws ValueError if closed, RuntimeError in a forked child.
  void require_usable() const;
  // RETURNS another cache of the same manager.
  [[nodiscard]] std::unique_ptr<CoreCache> named(const std::string& name, std::uint64_t entries) const;
  [[nodiscard]] bool has_disk() const { return disk_; }
  [[nodiscard]] bool is_closed() const { return closed_; }
  // Waits for all calls; the last cache of a manager also writes the queue to disk. RETURNS false
  // if the disk did not accept all removals, so that removed or replaced values may reappear at the
  // next start. A second call returns the same result.
  bool close();

  // Counts of the Python half: computations, and lookups whose outcome the library does not see.
  // REQUIRES: the GIL is held.
  struct Counts {
    std::int64_t hits = 0, misses = 0, waits = 0, computations = 0;
  };
  void count(const Counts& more) {
    counts_.hits += more.hits, counts_.misses += more.misses, counts_.waits += more.waits, counts_.computations += more.computations;
  }
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  struct Inside {
    Inside(const CoreCache& cache, bool unlocked) : core(cache), without_gil(unlocked) {
      core.require_usable();
      core.users_.fetch_add(1);
      if (without_gil) core.unlocked_.fetch_add(1);
    }
    ~Inside() {
      if (without_gil) core.unlocked_.fetch_sub(1);
      if (core.users_.fetch_sub(1) == 1) core.users_.notify_all();
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    const CoreCache& core;
    const bool without_gil;
  };

  std::shared_ptr<CacheManager> manager_;
  TensorCache* cache_ = nullptr;
  const std::uint64_t forks_ = forks();
  const bool disk_;
  bool closed_ = false;              // changed only with the GIL held
  bool nothing_comes_back_ = true;   // result of close()
  Counts counts_;
  mutable std::atomic<int> users_{0};      // calls in progress
  mutable std::atomic<int> unlocked_{0};   // those of them without the GIL
};

}   // namespace tensorcache::python
