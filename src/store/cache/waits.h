// Records which thread waits for which computation, over all caches of the process, and detects
// cycles before a thread waits.
#pragma once

#include <mutex>

namespace tensorcache::cache {

struct Waiter;

// A computation that others may wait for.
struct Awaited {
  Waiter* leader = nullptr;   // the thread that computes; null: none. Guarded by waits_mutex()
};

// A thread.
struct Waiter {
  const Awaited* waits_for = nullptr;   // guarded by waits_mutex()
};

[[nodiscard]] inline std::mutex& waits_mutex() {
  static std::mutex mutex;
  return mutex;
}

[[nodiscard]] inline Waiter& this_waiter() {
  thread_local Waiter waiter;
  return waiter;
}

inline void set_leader(Awaited& awaited, Waiter* leader) {
  const std::lock_guard lock(waits_mutex());
  awaited.leader = leader;
}

// The calling thread's wait for a computation. Does not wait itself.
class Wait {
 public:
  enum class Kind {
    kFine,
    kForItself,   // the calling thread computes it
    kCircle,      // the thread that computes it waits, directly or over others, for one that the calling thread computes
  };
  explicit Wait(const Awaited& awaited) : waiter_(this_waiter()) {
    const std::lock_guard lock(waits_mutex());
    for (const Awaited* at = &awaited; at != nullptr && at->leader != nullptr; at = at->leader->waits_for) {
      if (at->leader != &waiter_) continue;
      kind_ = at == &awaited ? Kind::kForItself : Kind::kCircle;
      return;
    }
    waiter_.waits_for = &awaited;
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;
  ~Wait() {
    if (kind_ != Kind::kFine) return;
    const std::lock_guard lock(waits_mutex());
    waiter_.waits_for = nullptr;
  }
  [[nodiscard]] Kind kind() const { return kind_; }

 private:
  Waiter& waiter_;
  Kind kind_ = Kind::kFine;
};

}   // namespace tensorcache::cache
