// Single-flight of running responses: identical requests share one computation, and each streams it
// from the start.
//
//   Flights::Outcome outcome = flights.enter(order, engine, [&] { io.post(...); });
//   if (outcome.hit) ...                                 // a stored response
//   else while (outcome.follower.next(events, 64)) ...   // a running one; false: wait for wake-up
//
// THREADS: every member of Flights and Follower from any thread, one Follower by one thread at a
// time. A wake-up runs on an engine thread with the flight's lock held: it must not block or call
// into this header.
// Lock order: the table's, then a flight's. Neither is held during calls of the engine or while a
// stored response is decoded.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "serving/answer/answer.h"
#include "serving/engine/engine.h"
#include "serving/engine/request.h"
#include "tensorcache/cache.h"

namespace tensorcache::answer {

class Flight;

// A client's subscription to a running response. Move-only. leave() unsubscribes; the flight
// cancels the engine's request when its last follower left.
class Follower {
 public:
  // Pointers are valid while the Follower lives.
  struct Events {
    bool accepted = false;                  // usually alone at first: the request waits for a slot
    const engine::Begin* begin = nullptr;   // in the first batch after `accepted`, unless the flight failed before
    std::vector<const engine::Delta*> deltas;
    const engine::Finish* finish = nullptr;     // in the last batch, after all deltas
    const engine::Failure* failure = nullptr;   // instead of `finish`
    bool stored = false;                        // with `finish`: the response is stored in the cache

    // RETURNS true if there is more than `accepted`.
    [[nodiscard]] bool has_more() const { return begin || !deltas.empty() || finish || failure; }
  };

  Follower() = default;
  Follower(Follower&& other) noexcept;
  Follower& operator=(Follower&& other) noexcept;
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  ~Follower() { leave(); }

  [[nodiscard]] explicit operator bool() const { return flight_ != nullptr; }

  // Gets the events since the last call, with at most `max_deltas` deltas. RETURNS false if there
  // are none; the next event then calls the wake-up once. Copies no text: a slow reader holds only
  // the recorded response.
  [[nodiscard]] bool next(Events& events, std::size_t max_deltas);
  [[nodiscard]] std::int64_t created_unix_s() const;
  void leave();

 private:
  friend class Flights;
  friend class Flight;
  Follower(std::shared_ptr<Flight> flight, std::uint64_t id) : flight_(std::move(flight)), id_(id) {}
  std::shared_ptr<Flight> flight_;
  std::uint64_t id_ = 0;
  struct Seen {
    std::size_t deltas = 0;
    bool accepted = false, begin = false, end = false;
  } seen_;
};

class Flights {
 public:
  struct Order {
    std::shared_ptr<const engine::Request> request;
    Key key;                                            // unused if look_up, join and store are all false
    std::string salt;                                   // Engine::answer_salt() as used in the key
    bool look_up = true;                                // accept a stored response...
    bool asked_below = false;                           // lower tiers were already asked
    std::optional<std::chrono::milliseconds> max_age;   // ...that is not older than this
    bool join = true;                                   // accept a running computation
    bool compute = true;                                // false: never compute
    bool store = true;                                  // store the response, and let other requests join the flight
    std::int32_t context_tokens = 0;                    // stored responses longer than this, including the prompt, are not accepted; 0: no limit
    std::chrono::milliseconds time_to_live{0};
  };
  struct Hit {
    Answer answer;
    std::chrono::milliseconds age{0};
  };
  // A hit or a follower; neither with ask_below, or if nothing is stored and `compute` is false.
  struct Outcome {
    std::optional<Hit> hit;
    Follower follower;
    bool ask_below = false;   // not in memory, and there are lower tiers: call Cache::load, then enter() with Order::asked_below
    bool collapsed = false;   // the follower joined a running computation
    bool too_old = false;     // a response is stored, but older than max_age
  };

  // REQUIRES: the cache outlives this object. Running flights may outlive both; they store nothing
  // then.
  explicit Flights(Cache& cache);
  ~Flights();
  Flights(const Flights&) = delete;
  Flights& operator=(const Flights&) = delete;

  // Looks up in memory, joins, or starts a flight, atomically: no identical request falls between
  // the end of a computation and the storing of its response. Calls Engine::submit, which may fail
  // before this returns. COST of a hit: one lookup.
  [[nodiscard]] Outcome enter(const Order& order, engine::Engine& engine, std::function<void()> wake);

 private:
  friend class Flight;
  struct Table;
  [[nodiscard]] std::optional<Hit> decoded(const Order& order, const Handle& stored) const;
  [[nodiscard]] std::shared_ptr<Flight> join_or_make(const Order& order, engine::Engine& engine, std::function<void()> wake, Outcome& outcome);
  std::shared_ptr<Table> table_;
};

}   // namespace tensorcache::answer
