// A TensorCache, or one of a CacheManager's, with what Python may do at the wrong time: use it closed, from a forked child, close it while
// another thread is inside, or end the interpreter then.
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

  // `action(cache)`, without the GIL where `long_work`, or where other calls are without it, as it may have to wait for one of them. close()
  // waits for it, so it must not run Python code.
  template <class Action>
  auto call(bool long_work, const Action& action) const {
    const Inside inside(*this, long_work || unlocked_.load() > 0);   // ends after the GIL is taken again, so that the interpreter does not end before
    const Unlocked unlocked(inside.without_gil);
    return action(*cache_);
  }
  template <class Action>
  auto call(const Action& action) const {
    return call(true, action);
  }

  // Throws ValueError if it is closed, RuntimeError in a forked child.
  void require_usable() const;
  // Another cache of the same manager.
  [[nodiscard]] std::unique_ptr<CoreCache> named(const std::string& name, std::uint64_t entries) const;
  [[nodiscard]] bool has_disk() const { return disk_; }
  [[nodiscard]] bool is_closed() const { return closed_; }
  // When it returns nobody is inside, and the last of a manager's caches has written what waited for the disk. False: the disk did not take
  // all removals, so what was removed or replaced may come back at the next start. Again: the same answer.
  bool close();

  // What the Python half counts: lookups whose end the library does not see, and computations. With the GIL held.
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
  bool closed_ = false;              // changed with the GIL held
  bool nothing_comes_back_ = true;   // close()
  Counts counts_;
  mutable std::atomic<int> users_{0};      // calls that are inside
  mutable std::atomic<int> unlocked_{0};   // those of them that let go of the GIL
};

}   // namespace tensorcache::python
