#include "tensor/leases.h"

#include <algorithm>

namespace tensorcache::tensor {
namespace {

// Far enough to be never, and near enough not to overflow a time point.
constexpr std::chrono::hours kLongest{24 * 365};

Leases::Clock::time_point after(std::chrono::milliseconds time) {
  return Leases::Clock::now() + std::clamp<std::chrono::milliseconds>(time, std::chrono::milliseconds(0), kLongest);
}

}   // namespace

std::uint64_t Leases::take(const Key& key, std::chrono::milliseconds patience, std::chrono::milliseconds hold) {
  const Clock::time_point deadline = after(patience);
  std::unique_lock lock(mutex_);
  State& state = held_[key];   // stays where it is: a node of the map, kept while anybody waits
  ++state.waiting;
  while (state.token != 0 && Clock::now() < state.until && Clock::now() < deadline) {
    state.changed.wait_until(lock, std::min(deadline, state.until));
  }
  --state.waiting;
  if (state.token != 0 && Clock::now() < state.until) return 0;
  state.token = ++last_token_;
  state.until = after(hold);
  return state.token;
}

void Leases::release(const Key& key, std::uint64_t token) {
  const std::lock_guard lock(mutex_);
  const auto found = held_.find(key);
  if (found == held_.end() || found->second.token != token) return;
  found->second.token = 0;
  if (found->second.waiting == 0) {
    held_.erase(found);
  } else {
    found->second.changed.notify_one();
  }
}

bool Leases::holds(const Key& key, std::uint64_t token) const {
  const std::lock_guard lock(mutex_);
  const auto found = held_.find(key);
  return found != held_.end() && found->second.token == token && Clock::now() < found->second.until;
}

}   // namespace tensorcache::tensor
