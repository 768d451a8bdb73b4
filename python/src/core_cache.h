// A TensorCache, or one of a CacheManager's, with what Python may do at the wrong time: use it closed, from a forked child, close it while
// another thread is inside, or end the interpreter then.
#pragma once

#include <atomic>
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

  // `action(cache)`, without the GIL where `long_work`. close() waits for it, so it must not run Python code.
  template <class Action>
  auto call(bool long_work, const Action& action) const {
    const Use use(*this);   // ends after the GIL is taken again, so that the interpreter does not end before
    const Unlocked unlocked(long_work);
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
  // When it returns nobody is inside, and the last of a manager's caches has written what waited for the disk.
  void close();

 private:
  class Use {
   public:
    explicit Use(const CoreCache& core) : core_(core) {
      core.require_usable();
      core.users_.fetch_add(1);
    }
    ~Use() {
      if (core_.users_.fetch_sub(1) == 1) core_.users_.notify_all();
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    const CoreCache& core_;
  };

  std::shared_ptr<CacheManager> manager_;
  TensorCache* cache_ = nullptr;
  const std::uint64_t forks_ = forks();
  const bool disk_;
  bool closed_ = false;   // changed with the GIL held
  std::mutex closing_;    // whoever closes it a second time waits, too, until it is closed
  mutable std::atomic<int> users_{0};
};

}   // namespace tensorcache::python
