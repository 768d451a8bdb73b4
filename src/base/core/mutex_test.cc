#include "base/core/mutex.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace tensorcache {
namespace {

struct Counter {
  Mutex mutex;
  CondVar changed;
  int count TC_GUARDED_BY(mutex) = 0;
};

// As another thread sees it.
bool is_free(Mutex& mutex) {
  bool taken = false;
  std::thread other([&] {
    if (mutex.try_lock()) {
      taken = true;
      mutex.unlock();
    }
  });
  other.join();
  return taken;
}

TEST(Mutex, ExcludesOtherThreads) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) {
        const MutexLock lock(counter.mutex);
        ++counter.count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const MutexLock lock(counter.mutex);
  EXPECT_EQ(counter.count, 40'000);
}

TEST(Mutex, LockCanBeLetGoAndTakenAgain) {
  Mutex mutex;
  {
    MutexLock lock(mutex);
    lock.unlock();
    EXPECT_TRUE(is_free(mutex));
    lock.lock();
    EXPECT_FALSE(is_free(mutex));
  }
  EXPECT_TRUE(is_free(mutex));
}

TEST(CondVar, WaitsLetTheMutexGo) {
  Counter counter;
  std::thread other([&] {
    const MutexLock lock(counter.mutex);
    counter.count = 1;
    counter.changed.notify_all();
  });
  {
    const MutexLock lock(counter.mutex);
    counter.changed.wait(counter.mutex, [&]() TC_REQUIRES(counter.mutex) { return counter.count == 1; });
    EXPECT_EQ(counter.count, 1);
  }
  other.join();
  EXPECT_TRUE(is_free(counter.mutex));
}

TEST(CondVar, TimedWaitsSayWhetherTheConditionHolds) {
  using std::chrono::milliseconds;
  Counter counter;
  const MutexLock lock(counter.mutex);
  EXPECT_FALSE(counter.changed.wait_for(counter.mutex, milliseconds(1), [] { return false; }));
  EXPECT_TRUE(counter.changed.wait_for(counter.mutex, milliseconds(1), [] { return true; }));
  EXPECT_FALSE(counter.changed.wait_until(counter.mutex, std::chrono::steady_clock::now(), [] { return false; }));
}

}   // namespace
}   // namespace tensorcache
