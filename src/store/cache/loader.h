// Loads values from lower tiers into memory, asynchronously with a timeout or at once. Callers that
// want the same value share one read.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

#include "store/cache/change_lock.h"
#include "store/memory/memory_tier.h"
#include "store/tier/lower_tier.h"

namespace tensorcache::cache {

using LowerTiers = std::vector<std::unique_ptr<tier::LowerTier>>;   // in lookup order

// THREADS: all members from any thread.
class Loader {
 public:
  using Clock = std::chrono::steady_clock;
  // Called without a lock with the last value of a run that was read from lower tier number `from`
  // > 0.
  using OnLoaded = std::function<void(const Handle& loaded, std::size_t from)>;
  // REQUIRES: all arguments outlive the loader; there is at least one lower tier.
  Loader(memory::MemoryTier& memory, const LowerTiers& lower, ChangeLock& changes, std::function<std::int64_t()> unix_ms, OnLoaded on_loaded);
  // Wakes the waiting callers.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // RETURNS a value that lower tier number `at` holds and memory does not, pinned; loads its
  // parents first. Waits for the tier.
  [[nodiscard]] Lookup fetch(const Key& key, std::size_t at);
  // Loads the part of the leading run of `chain` that is in a lower tier only. Waits for the tiers.
  void load_now(std::span<const Key> chain);
  // See Cache::load.
  bool load(std::vector<Key> chain, std::chrono::milliseconds timeout, std::function<void()> done);

  [[nodiscard]] std::uint64_t skipped() const;
  [[nodiscard]] std::uint64_t late() const;

 private:
  enum class Outcome : std::uint8_t {
    kAll,           // the whole chain is in memory
    kLoaded,        // more of the chain is in memory
    kChanged,       // the chain changed meanwhile: look again
    kNoParent,      // the value's parent is not in memory
    kNotStored,     // the first key that is not in memory is in no lower tier either
    kUnavailable,   // stored, but could not be loaded: no space, a read error, or the cache is closing
  };
  struct Job {
    std::vector<Key> chain;
    Clock::time_point deadline;
    std::function<void()> done;   // empty after its call
    bool running = false, stuck = false;
  };
  struct Reading {   // a running read of one caller; others wait for it
    bool over = false;
    Outcome outcome = Outcome::kUnavailable;
  };
  class Claim;

  void work();
  void run(const std::shared_ptr<Job>& job);
  void watch_deadlines();
  void finish(const std::shared_ptr<Job>& job, bool late);
  void stop();
  [[nodiscard]] bool worth_it(const tier::LowerTier& tier, std::span<const Key> missing, std::chrono::milliseconds timeout);
  // Loads until the whole chain is in memory or nothing more can be loaded. `held` pins the last
  // loaded value, and so all before it.
  Outcome load_chain(std::span<const Key> chain, Handle* held);
  // Loads the first `count` keys of `missing`, a leading run that lower tier number `at` holds and
  // memory does not.
  [[nodiscard]] Outcome load_run(std::span<const Key> missing, std::size_t at, std::size_t count, Handle* held);
  [[nodiscard]] Outcome read(tier::LowerTier& tier, std::span<const Key> keys, Handle* last);
  [[nodiscard]] PutStatus take(Reservation reservation, const tier::Copy& copy, Handle* last);
  [[nodiscard]] std::size_t tier_with(const Key& key) const;   // RETURNS the number of lower tiers if none holds it

  memory::MemoryTier& memory_;
  const LowerTiers& lower_;
  ChangeLock& changes_;
  const std::function<std::int64_t()> unix_ms_;
  const OnLoaded on_loaded_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;   // notified on a change of any member below
  std::unordered_map<Key, std::shared_ptr<Reading>> reading_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::vector<std::shared_ptr<Job>> active_;   // unfinished: waiting or being loaded
  std::atomic<bool> stopping_{false};          // written under mutex_; a long read checks it, too
  std::uint64_t skipped_ = 0, late_ = 0;
  int stuck_ = 0;   // readers whose job exceeded its deadline

  std::vector<std::thread> threads_;
};

}   // namespace tensorcache::cache
