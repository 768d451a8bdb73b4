// Keeps removals and replacements apart from moves of values between tiers.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace tensorcache::cache {

// THREADS: all members from any thread. A change may acquire the locks of every tier. A tier asks
// (tier::Origin) with none of its locks held, never while it holds one.
class ChangeLock {
 public:
  // Runs `change`, which removes or replaces values. Values read before it are not put into memory
  // after it.
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
  // Runs `act` while no value is removed or replaced; a clear() may be going on.
  template <class Act>
  auto unchanged(const Act& act) {
    const std::lock_guard lock(mutex_);
    return act();
  }
  // Runs `clear`, which deletes values in steps and uses unchanged() between them.
  template <class Clear>
  auto clearing(const Clear& clear) {
    const std::lock_guard lock(clearing_);
    return clear();
  }
  // Runs `act` while none of these is going on: what is not found then was not removed in part.
  template <class Act>
  auto settled(const Act& act) {
    const std::lock_guard none_is_cleared(clearing_);
    return unchanged(act);
  }
  // The same for who must not wait: false, without running it, while a clear() is going on.
  template <class Act>
  bool if_settled(const Act& act) {
    const std::unique_lock none_is_cleared(clearing_, std::try_to_lock);
    return none_is_cleared && unchanged(act);
  }
  // RETURNS an odd number while a change is in progress.
  [[nodiscard]] std::uint64_t count() const { return count_.load(); }
  // RETURNS true if no change was in progress since count() returned `before`. A lookup in all
  // tiers that found nothing is a certain miss then.
  [[nodiscard]] bool is_unchanged_since(std::uint64_t before) const { return before % 2 == 0 && before == count(); }

 private:
  std::mutex clearing_;   // before mutex_
  std::mutex mutex_;
  std::atomic<std::uint64_t> count_{0};
};

}   // namespace tensorcache::cache
