// Single-flight: at most one computation per key at a time. The first thread that asks for a key
// leads; threads that ask during the computation wait for its result. If the leader fails, one of
// the waiting threads leads.
//
//   tensorcache::SingleFlight<Key, std::shared_ptr<const Value>> flights;
//   auto joined = flights.join(key);
//   if (const auto* landed = std::get_if<0>(&joined)) return *landed;   // another thread's
//   auto& lead = std::get<1>(joined);
//   auto value = std::make_shared<const Value>(compute(key));   // throws: another takes over
//   lead.land(value);
//   return value;
//
// Results are not kept: a caller after land() leads a new computation. So the leader stores its
// result before land(), and looks into the store again after it became the leader.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <variant>

#include "base/core/mutex.h"
#include "base/core/waits.h"

namespace tensorcache {

// REQUIRES: a copy of `Value` is cheap and takes no lock (a shared pointer, for example), and Value
// is default-constructible. THREADS: all members from any thread; a Lead within its thread. No lock
// is held during a computation.
// anything is computed.
template <typename Key, typename Value>
class SingleFlight {
  struct Flight;

 public:
  // The right and duty to compute a key. Destruction without land() passes it to a waiting thread.
  class Lead {
   public:
    Lead(Lead&&) noexcept = default;
    Lead& operator=(Lead&&) = delete;
    ~Lead();
    // Gives the result to all waiting threads and ends the computation.
    void land(Value value);
    // RETURNS: true if the key was forgotten since the lead began; the result must not be stored
    // then.
    [[nodiscard]] bool is_forgotten() const;

   private:
    friend class SingleFlight;
    Lead(SingleFlight* owner, const Key& key, std::shared_ptr<Flight> flight) : owner_(owner), key_(key), flight_(std::move(flight)) {}
    SingleFlight* owner_;
    Key key_;
    std::shared_ptr<Flight> flight_;   // null: moved from, or landed
  };

  // Waits for the thread that computes the key. RETURNS: its result; or the lead, if no thread
  // computes the key, the computation failed, or its thread waits for the calling thread (then both
  // compute). Throws std::logic_error if the calling thread itself computes the key.
  [[nodiscard]] std::variant<Value, Lead> join(const Key& key) TC_EXCLUDES(mutex_);
  // join() without waiting. RETURNS: nothing if another thread computes the key.
  [[nodiscard]] std::optional<Lead> lead(const Key& key) TC_EXCLUDES(mutex_);
  // Marks the running computation as not to be stored; later callers start a new one.
  void forget(const Key& key) TC_EXCLUDES(mutex_);
  void forget_all() TC_EXCLUDES(mutex_);
  // RETURNS: the number of threads that wait for the key's computation now.
  [[nodiscard]] std::size_t waiting(const Key& key) const TC_EXCLUDES(mutex_);

 private:
  struct Flight : AwaitedComputation {   // guarded by the owner's mutex_
    CondVar changed;
    bool computing = true, forgotten = false, landed = false;
    std::size_t waiting = 0;
    Value value{};
  };
  [[nodiscard]] Lead begin(const Key& key) TC_REQUIRES(mutex_);
  [[nodiscard]] Lead take_lead(const Key& key, std::shared_ptr<Flight> flight) TC_REQUIRES(mutex_);
  void end(const Key& key, const std::shared_ptr<Flight>& flight) TC_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<Flight>> flights_ TC_GUARDED_BY(mutex_);
};

template <typename Key, typename Value>
SingleFlight<Key, Value>::Lead::~Lead() {
  if (!flight_) return;
  const MutexLock lock(owner_->mutex_);
  set_leader(*flight_, nullptr);
  flight_->computing = false;
  if (flight_->waiting == 0) {
    owner_->end(key_, flight_);
  } else {
    flight_->changed.notify_one();
  }
}

template <typename Key, typename Value>
void SingleFlight<Key, Value>::Lead::land(Value value) {
  const std::shared_ptr<Flight> flight = std::exchange(flight_, nullptr);   // outlives the lock, and so does its value
  const MutexLock lock(owner_->mutex_);
  set_leader(*flight, nullptr);
  flight->value = std::move(value);
  flight->landed = true;
  flight->changed.notify_all();
  owner_->end(key_, flight);
}

template <typename Key, typename Value>
bool SingleFlight<Key, Value>::Lead::is_forgotten() const {
  const MutexLock lock(owner_->mutex_);
  return flight_->forgotten;
}

template <typename Key, typename Value>
void SingleFlight<Key, Value>::end(const Key& key, const std::shared_ptr<Flight>& flight) {
  const auto found = flights_.find(key);
  if (found != flights_.end() && found->second == flight) flights_.erase(found);
}

template <typename Key, typename Value>
std::variant<Value, typename SingleFlight<Key, Value>::Lead> SingleFlight<Key, Value>::join(const Key& key) {
  const MutexLock lock(mutex_);
  for (;;) {
    const auto found = flights_.find(key);
    if (found == flights_.end()) return begin(key);
    const std::shared_ptr<Flight> flight = found->second;
    {
      const Wait wait(*flight);
      if (wait.kind() == Wait::Kind::kForItself) throw std::logic_error("get_or_compute: the computation of a key asks for the same key");
      if (wait.kind() == Wait::Kind::kCircle) return take_lead(key, std::make_shared<Flight>());
      ++flight->waiting;
      flight->changed.wait(mutex_, [&] { return flight->landed || !flight->computing; });
      --flight->waiting;
    }
    if (flight->landed) return flight->value;
    if (!flight->forgotten) return take_lead(key, flight);
    // The key was forgotten while the failed leader computed it. Later results may be stored, so
    // they get a flight of their own.
    flight->changed.notify_one();
  }
}

template <typename Key, typename Value>
std::optional<typename SingleFlight<Key, Value>::Lead> SingleFlight<Key, Value>::lead(const Key& key) {
  const MutexLock lock(mutex_);
  if (flights_.contains(key)) return std::nullopt;
  return begin(key);
}

template <typename Key, typename Value>
typename SingleFlight<Key, Value>::Lead SingleFlight<Key, Value>::begin(const Key& key) {
  auto flight = std::make_shared<Flight>();
  flights_.emplace(key, flight);
  return take_lead(key, std::move(flight));
}

template <typename Key, typename Value>
typename SingleFlight<Key, Value>::Lead SingleFlight<Key, Value>::take_lead(const Key& key, std::shared_ptr<Flight> flight) {
  flight->computing = true;
  set_leader(*flight, &this_waiting_thread());
  return {this, key, std::move(flight)};
}

template <typename Key, typename Value>
void SingleFlight<Key, Value>::forget(const Key& key) {
  const MutexLock lock(mutex_);
  const auto found = flights_.find(key);
  if (found == flights_.end()) return;
  found->second->forgotten = true;
  flights_.erase(found);
}

template <typename Key, typename Value>
void SingleFlight<Key, Value>::forget_all() {
  const MutexLock lock(mutex_);
  for (const auto& [key, flight] : flights_) flight->forgotten = true;
  flights_.clear();
}

template <typename Key, typename Value>
std::size_t SingleFlight<Key, Value>::waiting(const Key& key) const {
  const MutexLock lock(mutex_);
  const auto found = flights_.find(key);
  return found == flights_.end() ? 0 : found->second->waiting;
}

}   // namespace tensorcache
