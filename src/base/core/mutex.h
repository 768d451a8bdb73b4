// std::mutex and std::condition_variable with Clang's thread-safety annotations; no run-time cost.
//
//   class Counter {
//    public:
//     void add() TC_EXCLUDES(mutex_) {
//       const MutexLock lock(mutex_);
//       ++count_;
//     }
//    private:
//     Mutex mutex_;
//     int count_ TC_GUARDED_BY(mutex_) = 0;
//   };
//
// docs/architecture.md ("Lock order") states the order in which locks are taken.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/core/thread_annotations.h"

namespace tensorcache {

class TC_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock() TC_ACQUIRE() { mutex_.lock(); }
  void unlock() TC_RELEASE() { mutex_.unlock(); }
  [[nodiscard]] bool try_lock() TC_TRY_ACQUIRE(true) { return mutex_.try_lock(); }
  // Tells the analysis that the mutex is held, where it cannot follow; for example in callbacks.
  void assert_held() const TC_ASSERT_CAPABILITY(this) {}

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds a mutex while it lives; can release and reacquire it meanwhile.
class TC_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) TC_ACQUIRE(mutex) : mutex_(mutex) { mutex.lock(); }
  ~MutexLock() TC_RELEASE() {
    if (held_) mutex_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  void unlock() TC_RELEASE() {
    held_ = false;
    mutex_.unlock();
  }
  void lock() TC_ACQUIRE() {
    mutex_.lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

// Waits release the mutex and reacquire it. A lambda that reads guarded members is annotated:
// `[this]() TC_REQUIRES(mutex_) { ... }`.
class CondVar {
 public:
  void notify_one() noexcept { changed_.notify_one(); }
  void notify_all() noexcept { changed_.notify_all(); }

  void wait(Mutex& mutex) TC_REQUIRES(mutex) {
    Adopted lock(mutex);
    changed_.wait(lock.lock);
  }
  // Waits with a condition are excluded from the analysis: it cannot see that `ready` runs with the
  // mutex held.
  template <class Ready>
  void wait(Mutex& mutex, const Ready& ready) TC_REQUIRES(mutex) TC_NO_THREAD_SAFETY_ANALYSIS {
    Adopted lock(mutex);
    changed_.wait(lock.lock, ready);
  }
  // RETURNS: the last result of ready().
  template <class Clock, class Duration, class Ready>
  bool wait_until(Mutex& mutex, const std::chrono::time_point<Clock, Duration>& until, const Ready& ready)
      TC_REQUIRES(mutex) TC_NO_THREAD_SAFETY_ANALYSIS {
    Adopted lock(mutex);
    return changed_.wait_until(lock.lock, until, ready);
  }
  template <class Rep, class Period, class Ready>
  bool wait_for(Mutex& mutex, const std::chrono::duration<Rep, Period>& time, const Ready& ready) TC_REQUIRES(mutex) TC_NO_THREAD_SAFETY_ANALYSIS {
    Adopted lock(mutex);
    return changed_.wait_for(lock.lock, time, ready);
  }

 private:
  struct Adopted {   // borrows the caller's lock; does not unlock it
    explicit Adopted(Mutex& mutex) : lock(mutex.mutex_, std::adopt_lock) {}
    ~Adopted() { lock.release(); }
    Adopted(const Adopted&) = delete;
    Adopted& operator=(const Adopted&) = delete;
    std::unique_lock<std::mutex> lock;
  };
  std::condition_variable changed_;
};

}   // namespace tensorcache
