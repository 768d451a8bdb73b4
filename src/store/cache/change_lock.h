// Keeps removals and replacements apart from what moves values between the tiers.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace tensorcache::cache {

// THREADS: all members from any thread. A change may take the locks of every tier; a tier never takes this one.
class ChangeLock {
 public:
  // Runs `change`, which removes or replaces values: what was read of them before is not put into memory after it.
  template <class Change>
  auto changing(const Change& change) {
    const std::lock_guard lock(mutex_);
    struct Turn {
      std::atomic<std::uint64_t>& count;
      explicit Turn(std::atomic<std::uint64_t>& counter) : count(counter) { ++count; }
      ~Turn() { ++count; }
    } const turn(count_);
    return change();
  }
  // Runs `act` while nothing is removed or replaced.
  template <class Act>
  auto unchanged(const Act& act) {
    const std::lock_guard lock(mutex_);
    return act();
  }
  // Odd while a change is under way.
  [[nodiscard]] std::uint64_t count() const { return count_.load(); }
  // Whether no change was under way since count() said `before`: then a look-up in all tiers that found nothing is certain.
  [[nodiscard]] bool is_unchanged_since(std::uint64_t before) const { return before % 2 == 0 && before == count(); }

 private:
  std::mutex mutex_;
  std::atomic<std::uint64_t> count_{0};
};

}   // namespace tensorcache::cache
