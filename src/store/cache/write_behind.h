// Write-behind: what is stored in memory is queued in each lower tier, missing parents first. Where
// a tier's queue is full or its device does not work, the value waits in memory, and is queued when
// the tier has room. A tier that fails hands back what it had queued.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/core/callback_target.h"
#include "base/core/mutex.h"
#include "store/cache/change_lock.h"
#include "store/cache/loader.h"
#include "store/cache/write_backlog.h"
#include "store/memory/memory_tier.h"
#include "store/tier/lower_tier.h"

namespace tensorcache::cache {

// THREADS: all members from any thread, but stop().
class WriteBehind {
 public:
  using OnEvent = std::function<void(const std::string&)>;
  // `unix_ms`: wall time now, which the lower tiers' copies are stamped with. `on_event` receives a
  // log message when values are lost, at most one a minute; may be empty. The others must outlive
  // this object.
  WriteBehind(memory::MemoryTier& memory, const LowerTiers& lower, ChangeLock& changes, std::function<std::int64_t()> unix_ms, OnEvent on_event);

  // Queues the value in the first `count` lower tiers. Waits for a tier at most a second, and only
  // with an urgent value.
  void write(const Handle& stored, std::size_t count, tier::Urgency urgency = tier::Urgency::kNormal);
  // The value was removed: it does not wait any more, and is not lost.
  void forget(const Key& key) noexcept;

  // As Cache's.
  bool flush(std::chrono::milliseconds time);
  void when_flushed(std::function<void(bool)> done);
  // Queues waiting values as long as the time allows. Afterwards no callback of a tier arrives here.
  void stop(std::chrono::milliseconds time);

  // RETURNS the size of the values that wait for room in a tier's queue.
  [[nodiscard]] std::uint64_t waiting_bytes() const;
  // RETURNS the number of values that no tier got: they were evicted from memory before there was
  // room, or too many waited.
  [[nodiscard]] std::uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  enum class Result : std::uint8_t { kQueued, kWaits, kDropped, kGone };   // kGone: removed or evicted, or queued by another
  struct Tier {
    WriteBacklog backlog;
    Mutex draining;   // queues the oldest values first
  };
  using Numbers = std::vector<std::uint64_t>;   // of pushes, for each tier
  struct Held;                                  // a value that a tier has queued
  struct Flush;                                 // a when_flushed() that waits

  struct Attempt {
    const WriteBacklog::Item* waiting = nullptr;   // the item of the backlog that is to be written; null: a value that was just stored
    tier::Urgency urgency = tier::Urgency::kNormal;
    [[nodiscard]] unsigned returns() const { return waiting != nullptr ? waiting->returns : 0; }
  };
  // `returns`: times that the tier handed the value back.
  void write_urgent(std::size_t i, const Handle& stored);
  Result write_with_parents(std::size_t i, const Handle& stored, const Attempt& attempt);
  Result write_one(std::size_t i, const Handle& handle, const Attempt& attempt);
  Result wait_for_room(std::size_t i, const Handle& handle, unsigned returns);
  Result push(std::size_t i, const Handle& handle, unsigned returns);
  bool give_up_oldest(std::size_t i);
  void give_up(std::size_t i, const WriteBacklog::Item& item);
  bool take_back(std::size_t i, const Handle& handle, unsigned returns);
  [[nodiscard]] tier::Value value_of(std::size_t i, const Handle& handle, unsigned returns) const;
  [[nodiscard]] bool is_lost(std::size_t i, const WriteBacklog::Item& item);
  void lose(std::size_t i);
  void drain(std::size_t i);
  [[nodiscard]] bool is_broken(std::size_t i) const { return lower_[i]->room(0, tier::Urgency::kNormal) == tier::Room::kBroken; }
  [[nodiscard]] Numbers last_numbers() const;
  // RETURNS the first tier with a waiting value up to these numbers.
  enum class Of : std::uint8_t { kAll, kWorking };   // tiers
  [[nodiscard]] std::optional<std::size_t> behind(const Numbers& numbers, Of tiers) const;
  bool flush_until(const Numbers& last, std::chrono::steady_clock::time_point deadline);
  void begin(const std::shared_ptr<Flush>& flush);
  void advance(const std::shared_ptr<Flush>& flush);
  void advance_backlog(std::size_t i, const std::shared_ptr<Flush>& flush);
  static void end(const std::shared_ptr<Flush>& flush);

  memory::MemoryTier& memory_;
  const LowerTiers& lower_;
  ChangeLock& changes_;
  const std::function<std::int64_t()> unix_ms_;
  const OnEvent on_event_;
  std::vector<std::unique_ptr<Tier>> tiers_;   // one for each lower tier
  std::atomic<bool> dropped_{false};           // a value could not be queued since the last flush()
  std::atomic<std::uint64_t> lost_{0};
  // Counts the values taken back. A flush whose tiers have written everything asks it whether
  // "everything" was less than it began with.
  const std::shared_ptr<std::atomic<std::uint64_t>> taken_back_ = std::make_shared<std::atomic<std::uint64_t>>(0);
  std::atomic<std::int64_t> next_note_ms_{0};   // steady clock; when the next message may be logged
  CallbackTarget<WriteBehind*> calls_{this};    // from tiers
};

}   // namespace tensorcache::cache
