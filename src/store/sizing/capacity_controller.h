// Sets the cache's capacity at run time: a given size, or automatically from available memory.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "store/sizing/memory_governor.h"
#include "tensorcache/cache.h"

namespace tensorcache::sizing {

struct ControllerOptions {
  GovernorOptions governor = {};
  std::chrono::milliseconds period{1000};
  std::unique_ptr<MemoryReader> reader = nullptr;               // null: the system's
  std::function<void(const std::string&)> on_event = nullptr;   // receives a log message; called on the controller's thread
};

struct MemoryState {
  bool automatic = false;
  std::uint64_t capacity_bytes = 0;            // last set; Stats has the bytes in use
  std::optional<MemoryReading> reading = {};   // the last one, if automatic
};

// THREADS: all members from any thread. Resizing runs on a thread of its own, because evicting many
// entries takes long.
class CapacityController {
 public:
  explicit CapacityController(Cache& cache, ControllerOptions options = {});
  ~CapacityController();
  CapacityController(const CapacityController&) = delete;
  CapacityController& operator=(const CapacityController&) = delete;

  // Sets the capacity asynchronously; of several calls, the last one counts.
  void set(std::uint64_t capacity_bytes);
  void set_automatic();
  void set_share(double share);   // share of available memory, if automatic
  [[nodiscard]] MemoryState state() const;
  // RETURNS the memory of the machine or container; 0 if it cannot be read.
  [[nodiscard]] std::uint64_t total_bytes() const { return total_bytes_; }

 private:
  void run();
  void follow(std::unique_lock<std::mutex>& lock);
  void say(const std::string& event) const;

  Cache& cache_;
  const std::chrono::milliseconds period_;
  const std::unique_ptr<MemoryReader> reader_;   // used only by the thread once it runs
  const std::function<void(const std::string&)> on_event_;
  std::uint64_t total_bytes_ = 0;

  mutable std::mutex mutex_;   // guards all members below
  std::condition_variable changed_;
  GovernorOptions governor_options_;
  std::optional<MemoryGovernor> governor_;   // none: not automatic
  MemoryState state_;
  bool due_ = false, unreadable_ = false, stopping_ = false;
  std::thread thread_;
};

}   // namespace tensorcache::sizing
