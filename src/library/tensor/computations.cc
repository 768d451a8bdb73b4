#include "library/tensor/computations.h"

#include <stdexcept>
#include <utility>

namespace tensorcache::tensor {

Computations::Lead::~Lead() {
  if (!flight_) return;
  const std::lock_guard lock(owner_->mutex_);
  cache::set_leader(*flight_, nullptr);
  flight_->computing = false;
  if (flight_->waiting == 0) {
    owner_->end_locked(key_, flight_);
  } else {
    flight_->changed.notify_one();
  }
}

void Computations::Lead::land(Result result) {
  const std::shared_ptr<Flight> flight = std::exchange(flight_, nullptr);
  const std::lock_guard lock(owner_->mutex_);
  cache::set_leader(*flight, nullptr);
  flight->result = std::move(result);
  flight->landed = true;
  flight->changed.notify_all();
  owner_->end_locked(key_, flight);
}

bool Computations::Lead::is_forgotten() const {
  const std::lock_guard lock(owner_->mutex_);
  return flight_->forgotten;
}

void Computations::end_locked(const Key& key, const std::shared_ptr<Flight>& flight) {
  const auto found = flights_.find(key);
  if (found != flights_.end() && found->second == flight) flights_.erase(found);
}

std::variant<Computations::Result, Computations::Lead> Computations::join(const Key& key) {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto found = flights_.find(key);
    if (found == flights_.end()) return begin_locked(key);
    const std::shared_ptr<Flight> flight = found->second;
    {
      const cache::Wait wait(*flight);
      if (wait.kind() == cache::Wait::Kind::kForItself) throw std::logic_error("get_or_compute: the computation of a key asks for the same key");
      if (wait.kind() == cache::Wait::Kind::kCircle) return lead_locked(key, std::make_shared<Flight>());
      ++flight->waiting;
      flight->changed.wait(lock, [&] { return flight->landed || !flight->computing; });
      --flight->waiting;
    }
    if (flight->landed) return flight->result;
    if (!flight->forgotten) return lead_locked(key, flight);
    // The key was removed while the leader that failed computed it. What is computed from here on
    // may be stored: in a flight of its own.
    flight->changed.notify_one();
  }
}

std::optional<Computations::Lead> Computations::lead(const Key& key) {
  const std::lock_guard lock(mutex_);
  if (flights_.contains(key)) return std::nullopt;
  return begin_locked(key);
}

Computations::Lead Computations::begin_locked(const Key& key) {
  auto flight = std::make_shared<Flight>();
  flights_.emplace(key, flight);
  return lead_locked(key, std::move(flight));
}

Computations::Lead Computations::lead_locked(const Key& key, std::shared_ptr<Flight> flight) {
  flight->computing = true;
  cache::set_leader(*flight, &cache::this_waiter());
  return {this, key, std::move(flight)};
}

// Whoever asks from here on must not get the result either, so they begin anew.
void Computations::forget(const Key& key) {
  const std::lock_guard lock(mutex_);
  const auto found = flights_.find(key);
  if (found == flights_.end()) return;
  found->second->forgotten = true;
  flights_.erase(found);
}

void Computations::forget_all() {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, flight] : flights_) flight->forgotten = true;
  flights_.clear();
}

}   // namespace tensorcache::tensor
