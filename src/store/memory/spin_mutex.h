// A mutex for critical sections of about ten nanoseconds: spins briefly before it sleeps, which
// costs microseconds. With Clang's thread-safety annotations, as base/core/mutex.h.
#pragma once

#include <mutex>

#include "base/core/thread_annotations.h"

namespace tensorcache::memory {

// As tensorcache::Mutex.
class TC_CAPABILITY("mutex") SpinMutex {
 public:
  SpinMutex() = default;
  SpinMutex(const SpinMutex&) = delete;
  SpinMutex& operator=(const SpinMutex&) = delete;
  void lock() TC_ACQUIRE() {
    for (int look = 0; look < kLooks; ++look) {
      if (mutex_.try_lock()) return;
      pause();
    }
    mutex_.lock();
  }
  [[nodiscard]] bool try_lock() TC_TRY_ACQUIRE(true) { return mutex_.try_lock(); }
  void unlock() TC_RELEASE() { mutex_.unlock(); }
  // For a callback that is called with the mutex held, which the analysis cannot see.
  void assert_held() const TC_ASSERT_CAPABILITY(this) {}

 private:
  static constexpr int kLooks = 64;
  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  std::mutex mutex_;
};

// Holds a SpinMutex while it lives.
class TC_SCOPED_CAPABILITY SpinLock {
 public:
  explicit SpinLock(SpinMutex& mutex) TC_ACQUIRE(mutex) : mutex_(mutex) { mutex.lock(); }
  ~SpinLock() TC_RELEASE() { mutex_.unlock(); }
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

 private:
  SpinMutex& mutex_;
};

}   // namespace tensorcache::memory
