// From disk up into memory: in the background with a deadline, or at once; whoever wants the same value shares one read.
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
#include <unordered_set>
#include <vector>

#include "disk/disk_tier.h"
#include "tier/memory_tier.h"

namespace tensorcache {

// Threads: all members from any thread.
class Loader {
 public:
  using Clock = std::chrono::steady_clock;
  Loader(detail::MemoryTier& memory, disk::DiskTier& disk, std::function<std::int64_t()> unix_ms);
  // Lets go of whoever waits.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // Loads what of the leading run of `chain` is on disk and not in memory. Waits for the disk.
  void load_now(std::span<const Key> chain);
  // See Cache::load.
  bool load(std::vector<Key> chain, std::chrono::milliseconds patience, std::function<void()> done);

  // Runs `forget`, and makes sure that nothing that was read before is put into memory after it.
  template <class Forget>
  auto forgetting(const Forget& forget) {
    const std::lock_guard lock(forget_mutex_);
    ++forgotten_;
    return forget();
  }

  // Runs `act` while nothing can be forgotten.
  template <class Act>
  auto remembering(const Act& act) {
    const std::lock_guard lock(forget_mutex_);
    return act();
  }

  [[nodiscard]] std::uint64_t skipped() const;
  [[nodiscard]] std::uint64_t late() const;

 private:
  struct Job {
    std::vector<Key> chain;
    Clock::time_point deadline;
    std::function<void()> done;   // empty once it was called
    bool running = false, stuck = false;
  };
  void work();
  void watch_deadlines();
  void finish(const std::shared_ptr<Job>& job, bool late);
  [[nodiscard]] bool worth_it(std::span<const Key> missing, std::chrono::milliseconds patience);
  // One run from `chain`'s first key that is not in memory. False: nothing more can be loaded.
  [[nodiscard]] bool load_run(std::span<const Key>& chain);
  std::size_t read(std::span<const Key> keys);

  detail::MemoryTier& memory_;
  disk::DiskTier& disk_;
  const std::function<std::int64_t()> unix_ms_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;   // any of the below
  std::unordered_set<Key> reading_;   // by somebody, now
  std::deque<std::shared_ptr<Job>> waiting_;
  std::vector<std::shared_ptr<Job>> active_;   // not done yet: waiting or being loaded
  std::atomic<bool> stopping_{false};          // written under mutex_; a long read looks at it too
  std::uint64_t skipped_ = 0, late_ = 0;
  int stuck_ = 0;   // readers whose job is past its deadline

  std::mutex forget_mutex_;
  std::uint64_t forgotten_ = 0;

  std::vector<std::thread> threads_;
};

}   // namespace tensorcache
