// Records which thread waits for which computation, over all single flights of the process, to
// detect a cycle of waiting threads before it forms.
#pragma once

#include <cstddef>
#include <mutex>

namespace tensorcache {

struct WaitingThread;

// A computation for which other threads may wait.
struct AwaitedComputation {
  WaitingThread* leader = nullptr;   // the computing thread; null: none. Guarded by waits_mutex()
};

struct WaitingThread {
  const AwaitedComputation* waits_for = nullptr;   // guarded by waits_mutex()
};

[[nodiscard]] inline std::mutex& waits_mutex() {
  static std::mutex mutex;
  return mutex;
}

// How many threads have a Wait now; guarded by waits_mutex().
[[nodiscard]] inline std::size_t& waits_count() {
  static std::size_t count = 0;
  return count;
}

// RETURNS: how many threads wait for a computation now. For tests.
[[nodiscard]] inline std::size_t waiting_threads() {
  const std::lock_guard lock(waits_mutex());
  return waits_count();
}

[[nodiscard]] inline WaitingThread& this_waiting_thread() {
  thread_local WaitingThread thread;
  return thread;
}

inline void set_leader(AwaitedComputation& awaited, WaitingThread* leader) {
  const std::lock_guard lock(waits_mutex());
  awaited.leader = leader;
}

// Registers the calling thread's wait for a computation while it lives. Does not wait itself.
class Wait {
 public:
  enum class Kind {
    kFine,
    kForItself,   // the calling thread computes it
    kCircle,      // its thread waits, directly or through others, for the calling thread
  };
  explicit Wait(const AwaitedComputation& awaited) : thread_(this_waiting_thread()) {
    const std::lock_guard lock(waits_mutex());
    for (const AwaitedComputation* at = &awaited; at != nullptr && at->leader != nullptr; at = at->leader->waits_for) {
      if (at->leader != &thread_) continue;
      kind_ = at == &awaited ? Kind::kForItself : Kind::kCircle;
      return;
    }
    thread_.waits_for = &awaited;
    ++waits_count();
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;
  ~Wait() {
    if (kind_ != Kind::kFine) return;
    const std::lock_guard lock(waits_mutex());
    thread_.waits_for = nullptr;
    --waits_count();
  }
  [[nodiscard]] Kind kind() const { return kind_; }

 private:
  WaitingThread& thread_;
  Kind kind_ = Kind::kFine;
};

}   // namespace tensorcache
