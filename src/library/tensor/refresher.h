// One thread, started on first use, that refreshes stale values.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "tensorcache/key.h"

namespace tensorcache::tensor {

// Threads: post() and stop() from any thread.
class Refresher {
 public:
  Refresher() = default;
  ~Refresher() { stop(); }
  Refresher(const Refresher&) = delete;
  Refresher& operator=(const Refresher&) = delete;

  // Does nothing if a job of this key waits or runs. `job` must not throw. False: too many wait,
  // and this one is not taken.
  [[nodiscard]] bool post(const Key& key, std::function<void()> job);
  // Waits for the job that runs; those that wait are dropped, and none begins from here on.
  void stop();

  [[nodiscard]] std::uint64_t waiting() const;

 private:
  static constexpr std::size_t kMaxWaiting = 4096;
  struct Job {
    Key key;
    std::function<void()> run;
  };
  void work();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::unordered_set<Key> keys_;   // of those that wait and of the one that runs
  bool stopping_ = false;
  std::thread thread_;
};

}   // namespace tensorcache::tensor
