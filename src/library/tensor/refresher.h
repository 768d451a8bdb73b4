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

// THREADS: post() and stop() from any thread.
class Refresher {
 public:
  Refresher() = default;
  ~Refresher() { stop(); }
  Refresher(const Refresher&) = delete;
  Refresher& operator=(const Refresher&) = delete;

  // Queues a job; no effect if a job of this key is queued or running. REQUIRES: `job` does not
  // throw. RETURNS false if the queue is full and the job was dropped.
  [[nodiscard]] bool post(const Key& key, std::function<void()> job);
  // Waits for the running job; drops queued ones and starts no more.
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
  std::unordered_set<Key> keys_;   // of queued jobs and the running one
  bool stopping_ = false;
  std::thread thread_;
};

}   // namespace tensorcache::tensor
