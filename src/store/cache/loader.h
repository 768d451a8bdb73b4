// From the lower tiers up into memory: in the background with a deadline, or at once. Callers that want the same value share one read.
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

using LowerTiers = std::vector<std::unique_ptr<tier::LowerTier>>;   // the first is asked first

// Threads: all members from any thread.
class Loader {
 public:
  using Clock = std::chrono::steady_clock;
  // Called, with no lock held, with the last value of a run that was read from the lower tier number `from`, if that is not the first.
  using OnLoaded = std::function<void(const Handle& loaded, std::size_t from)>;
  // REQUIRES that all of these outlive it, and that there is a lower tier.
  Loader(memory::MemoryTier& memory, const LowerTiers& lower, ChangeLock& changes, std::function<std::int64_t()> unix_ms, OnLoaded on_loaded);
  // Releases the callers that wait.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // A value that the lower tier number `at` holds and memory does not, pinned; what it is chained behind is loaded first. Waits for the
  // tier.
  [[nodiscard]] Lookup fetch(const Key& key, std::size_t at);
  // Loads what of the leading run of `chain` is in a lower tier and not in memory. Waits for the tiers.
  void load_now(std::span<const Key> chain);
  // See Cache::load.
  bool load(std::vector<Key> chain, std::chrono::milliseconds patience, std::function<void()> done);

  [[nodiscard]] std::uint64_t skipped() const;
  [[nodiscard]] std::uint64_t late() const;

 private:
  enum class Outcome : std::uint8_t {
    kAll,           // all of it is in memory
    kLoaded,        // some more of it is
    kChanged,       // something went or came meanwhile: look again
    kNoParent,      // the value is chained behind one that is not in memory
    kNotStored,     // the first key that is not in memory is in no lower tier
    kUnavailable,   // it is stored and could not be brought up: no room, a read error, the end of the cache
  };
  struct Job {
    std::vector<Key> chain;
    Clock::time_point deadline;
    std::function<void()> done;   // empty once it was called
    bool running = false, stuck = false;
  };
  struct Reading {   // a read under way, of one caller; the others wait for it
    bool over = false;
    Outcome outcome = Outcome::kUnavailable;
  };
  class Claim;

  void work();
  void run(const std::shared_ptr<Job>& job);
  void watch_deadlines();
  void finish(const std::shared_ptr<Job>& job, bool late);
  void stop();
  [[nodiscard]] bool worth_it(const tier::LowerTier& tier, std::span<const Key> missing, std::chrono::milliseconds patience);
  // Loads until all of it is in memory or nothing more can be loaded. `held` pins what was loaded last, and so all before it.
  Outcome load_chain(std::span<const Key> chain, Handle* held);
  // The leading run of `missing`, none of which is in memory, as far as the tier number `at` holds it: `count` keys.
  [[nodiscard]] Outcome load_run(std::span<const Key> missing, std::size_t at, std::size_t count, Handle* held);
  [[nodiscard]] Outcome read(tier::LowerTier& tier, std::span<const Key> keys, Handle* last);
  [[nodiscard]] PutStatus take(Reservation reservation, const tier::Copy& copy, Handle* last);
  [[nodiscard]] std::size_t tier_with(const Key& key) const;   // the number of lower tiers: none

  memory::MemoryTier& memory_;
  const LowerTiers& lower_;
  ChangeLock& changes_;
  const std::function<std::int64_t()> unix_ms_;
  const OnLoaded on_loaded_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;   // any of the below
  std::unordered_map<Key, std::shared_ptr<Reading>> reading_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::vector<std::shared_ptr<Job>> active_;   // not done yet: waiting or being loaded
  std::atomic<bool> stopping_{false};          // written under mutex_; a long read looks at it too
  std::uint64_t skipped_ = 0, late_ = 0;
  int stuck_ = 0;   // readers whose job is past its deadline

  std::vector<std::thread> threads_;
};

}   // namespace tensorcache::cache
