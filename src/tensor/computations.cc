#include "tensor/computations.h"

#include <utility>

namespace tensorcache::tensor {

Computations::Lead::~Lead() {
  if (!flight_) return;
  const std::lock_guard lock(owner_->mutex_);
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
  const auto found = flights_.find(key);
  if (found == flights_.end()) return begin_locked(key);
  const std::shared_ptr<Flight> flight = found->second;
  ++flight->waiting;
  flight->changed.wait(lock, [&] { return flight->landed || !flight->computing; });
  --flight->waiting;
  if (flight->landed) return flight->result;
  flight->computing = true;
  return Lead(this, key, flight);
}

std::optional<Computations::Lead> Computations::lead(const Key& key) {
  const std::lock_guard lock(mutex_);
  if (flights_.contains(key)) return std::nullopt;
  return begin_locked(key);
}

Computations::Lead Computations::begin_locked(const Key& key) {
  auto flight = std::make_shared<Flight>();
  flights_.emplace(key, flight);
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
