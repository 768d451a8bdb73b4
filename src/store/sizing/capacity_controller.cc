#include "store/sizing/capacity_controller.h"

#include <malloc.h>

#include <utility>

#include "base/core/units.h"

namespace tensorcache::sizing {

CapacityController::CapacityController(Cache& cache, ControllerOptions options)
    : cache_(cache),
      period_(options.period),
      reader_(options.reader ? std::move(options.reader) : make_memory_reader()),
      on_event_(std::move(options.on_event)),
      governor_options_(options.governor) {
  state_.capacity_bytes = cache.stats().capacity_bytes;
  if (const auto reading = reader_->read()) total_bytes_ = reading->total_bytes;
  thread_ = std::thread([this] { run(); });
}

CapacityController::~CapacityController() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void CapacityController::set(std::uint64_t capacity_bytes) {
  const std::lock_guard lock(mutex_);
  governor_.reset();
  state_ = {.automatic = false, .capacity_bytes = capacity_bytes, .reading = {}};
  due_ = true;
  changed_.notify_one();
}

void CapacityController::set_automatic() {
  const std::lock_guard lock(mutex_);
  if (state_.automatic) return;
  governor_.emplace(governor_options_);
  state_.automatic = due_ = true;
  changed_.notify_one();
}

void CapacityController::set_share(double share) {
  const std::lock_guard lock(mutex_);
  if (governor_options_.share == share) return;
  governor_options_.share = share;
  if (state_.automatic) governor_.emplace(governor_options_);
}

MemoryState CapacityController::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void CapacityController::say(const std::string& event) const {
  if (on_event_) on_event_(event);
}

void CapacityController::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto woken = [&] { return stopping_ || due_; };
    if (state_.automatic) {
      changed_.wait_for(lock, period_, woken);
    } else {
      changed_.wait(lock, woken);
    }
    if (stopping_) return;
    due_ = false;
    if (state_.automatic) {
      follow(lock);
      continue;
    }
    const std::uint64_t capacity = state_.capacity_bytes;
    lock.unlock();
    cache_.resize(capacity);
    lock.lock();
  }
}

void CapacityController::follow(std::unique_lock<std::mutex>& lock) {
  const auto reading = reader_->read();
  const std::uint64_t before = state_.capacity_bytes;
  const std::uint64_t next = governor_->next(reading, before, cache_.stats().used_bytes);
  const bool news = unreadable_ == reading.has_value();
  unreadable_ = !reading;
  state_.reading = reading;
  state_.capacity_bytes = next;
  lock.unlock();
  if (news) say(reading ? "memory: available memory can be read again" : "memory: available memory cannot be read; the cache keeps its size");
  if (next != before) cache_.resize(next);
  if (next < before) {
    malloc_trim(0);   // small values are interleaved with others, so malloc would not return their pages
    say("memory: " + format_size(reading->available_bytes) + " available; the cache shrinks from " + format_size(before) + " to " +
        format_size(next));
  }
  lock.lock();
}

}   // namespace tensorcache::sizing
