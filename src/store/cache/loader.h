// From disk up into memory: in the background with a deadline, or at once; callers that want the same value share one read.
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

#include "store/disk/disk_tier.h"
#include "store/memory/memory_tier.h"

namespace tensorcache::cache {

// Threads: all members from any thread.
class Loader {
 public:
  using Clock = std::chrono::steady_clock;
  Loader(memory::MemoryTier& memory, disk::DiskTier& disk, std::function<std::int64_t()> unix_ms);
  // Releases the callers that wait.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // A value that is on disk and not in memory, pinned; what it is chained behind is loaded first. Waits for the disk.
  [[nodiscard]] Lookup fetch(const Key& key);
  // Loads what of the leading run of `chain` is on disk and not in memory. Waits for the disk.
  void load_now(std::span<const Key> chain);
  // See Cache::load.
  bool load(std::vector<Key> chain, std::chrono::milliseconds patience, std::function<void()> done);

  // Runs `change`, which removes or replaces values: what was read of them before is not put into memory after it.
  template <class Change>
  auto changing(const Change& change) {
    const std::lock_guard lock(change_mutex_);
    struct Turn {
      std::atomic<std::uint64_t>& changes;
      explicit Turn(std::atomic<std::uint64_t>& counter) : changes(counter) { ++changes; }
      ~Turn() { ++changes; }
    } const turn(changes_);
    return change();
  }
  // Runs `act` while nothing is removed or replaced.
  template <class Act>
  auto unchanged(const Act& act) {
    const std::lock_guard lock(change_mutex_);
    return act();
  }
  // Odd while a change is under way. A lookup in both tiers that found nothing is certain if this was even and the same before and after it.
  [[nodiscard]] std::uint64_t changes() const { return changes_.load(); }

  [[nodiscard]] std::uint64_t skipped() const;
  [[nodiscard]] std::uint64_t late() const;

 private:
  enum class Outcome : std::uint8_t {
    kAll,           // all of it is in memory
    kLoaded,        // some more of it is
    kChanged,       // something went or came meanwhile: look again
    kNotStored,     // the first key that is not in memory is not on disk
    kUnavailable,   // it is on disk and could not be brought up: no room, a read error, the end of the cache
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
  [[nodiscard]] bool worth_it(std::span<const Key> missing, std::chrono::milliseconds patience);
  // Loads until all of it is in memory or nothing more can be loaded. `held` pins what was loaded last, and so all before it.
  Outcome load_chain(std::span<const Key> chain, Handle* held);
  // One run from `chain`'s first key that is not in memory.
  [[nodiscard]] Outcome load_run(std::span<const Key> chain, Handle* held);
  [[nodiscard]] Outcome read(std::span<const Key> keys, Handle* held);
  [[nodiscard]] PutStatus take(Reservation draft, const disk::RecordHeader& header, Handle* held);

  memory::MemoryTier& memory_;
  disk::DiskTier& disk_;
  const std::function<std::int64_t()> unix_ms_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;   // any of the below
  std::unordered_map<Key, std::shared_ptr<Reading>> reading_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::vector<std::shared_ptr<Job>> active_;   // not done yet: waiting or being loaded
  std::atomic<bool> stopping_{false};          // written under mutex_; a long read looks at it too
  std::uint64_t skipped_ = 0, late_ = 0;
  int stuck_ = 0;   // readers whose job is past its deadline

  std::mutex change_mutex_;
  std::atomic<std::uint64_t> changes_{0};

  std::vector<std::thread> threads_;
};

}   // namespace tensorcache::cache
