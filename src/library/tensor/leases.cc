#include "library/tensor/leases.h"

#include <algorithm>

#include "base/core/deadline.h"

namespace tensorcache::tensor {

std::uint64_t Leases::take(const Key& key, std::chrono::milliseconds timeout, std::chrono::milliseconds hold) {
  const Clock::time_point deadline = deadline_after(timeout);
  std::unique_lock lock(mutex_);
  State& state = states_[key];
  ++state.waiting;
  while (state.is_held() && Clock::now() < deadline) {
    // A lease does not expire during a write; the end of the write notifies.
    state.changed.wait_until(lock, state.writing > 0 ? deadline : std::min(deadline, state.until));
  }
  --state.waiting;
  if (state.is_held()) return 0;
  state.token = ++last_token_;
  state.until = deadline_after(hold);
  return state.token;
}

// Wakes all waiters: the next holder's lease may end before the time until which they would sleep.
void Leases::free_locked(const Key& key, State& state) {
  if (state.waiting > 0) {
    state.changed.notify_all();
  } else if (state.token == 0 && state.writing == 0) {
    states_.erase(key);
  }
}

void Leases::release(const Key& key, std::uint64_t token) {
  const std::lock_guard lock(mutex_);
  const auto found = states_.find(key);
  if (found == states_.end() || found->second.token != token) return;
  found->second.token = 0;
  free_locked(key, found->second);
}

std::size_t Leases::waiting(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = states_.find(key);
  return found == states_.end() ? 0 : found->second.waiting;
}

bool Leases::holds(const Key& key, std::uint64_t token) const {
  const std::lock_guard lock(mutex_);
  const auto found = states_.find(key);
  return found != states_.end() && found->second.token == token && found->second.is_held();
}

Leases::Write::Write(Leases& leases, const Key& key, std::uint64_t token) : leases_(leases), key_(key) {
  const std::lock_guard lock(leases_.mutex_);
  const auto found = leases_.states_.find(key);
  if (found == leases_.states_.end() || found->second.token != token || !found->second.is_held()) return;
  state_ = &found->second;
  ++state_->writing;
}

Leases::Write::~Write() {
  if (state_ == nullptr) return;
  const std::lock_guard lock(leases_.mutex_);
  --state_->writing;
  leases_.free_locked(key_, *state_);
}

}   // namespace tensorcache::tensor
