// Single-flight of running answers: identical requests share one computation, and each gets its stream from the start.
//
//   Flights::Outcome outcome = flights.enter(order, engine, [&] { io.post(...); });
//   if (outcome.hit) ...                                   // a stored answer
//   else while (outcome.follower.next(events, 64)) ...     // a running one; false: wait for the wake-up, then ask again
//
// Threads: every member of Flights and Follower may be called from any thread, one Follower by one thread at a time. A wake-up runs
// on an engine thread with the flight's lock held: it must not block and must not call into this header.
// Locks: the table's before a flight's. Neither is held while the engine is called or a stored answer is decoded.
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

// One client's place at a running answer. Move-only. The computation belongs to the flight: who leaves only unsubscribes, and the
// engine's request is cancelled when the last one has left.
class Follower {
 public:
  // Pointers stay valid while the Follower lives.
  struct Events {
    bool accepted = false;                  // mostly before the rest: only the place is awaited now
    const engine::Begin* begin = nullptr;   // with the first batch behind that, unless the flight failed before it began
    std::vector<const engine::Delta*> deltas;
    const engine::Finish* finish = nullptr;     // with the last batch, after all deltas
    const engine::Failure* failure = nullptr;   // instead of `finish`
    bool stored = false;                        // with `finish`: the answer is in the cache now

    // Than `accepted`.
    [[nodiscard]] bool has_more() const { return begin || !deltas.empty() || finish || failure; }
  };

  Follower() = default;
  Follower(Follower&& other) noexcept;
  Follower& operator=(Follower&& other) noexcept;
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  ~Follower() { leave(); }

  [[nodiscard]] explicit operator bool() const { return flight_ != nullptr; }

  // What came since the last call, with at most `max_deltas` of them. False if nothing did; then the wake-up is called once
  // when something does. Copies no text: a slow reader holds nothing but the answer that is recorded anyway.
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
    Key key;                                            // unused where neither look_up nor join nor store
    std::string salt;                                   // Engine::answer_salt() as it is in the key
    bool look_up = true;                                // a stored answer will do...
    bool asked_below = false;                           // what is not in memory was brought up already, or cannot be
    std::optional<std::chrono::milliseconds> max_age;   // ...unless it is older
    bool join = true;                                   // a running computation will do
    bool compute = true;                                // false: only what is stored
    bool store = true;                                  // keep the answer, and let others join while it runs
    std::int32_t context_tokens = 0;                    // a stored answer that is longer with its prompt would end sooner now; 0: any will do
    std::chrono::milliseconds time_to_live{0};
  };
  struct Hit {
    Answer answer;
    std::chrono::milliseconds age{0};
  };
  // Either a hit or a follower; neither with ask_below, or if nothing is stored and `compute` is off.
  struct Outcome {
    std::optional<Hit> hit;
    Follower follower;
    bool ask_below = false;   // not in memory, and there are tiers below: Cache::load, then enter() with Order::asked_below
    bool collapsed = false;   // the follower joined a computation that was running
    bool too_old = false;     // an answer is stored, but older than max_age
  };

  // The cache must outlive this object; flights that are still running may outlive both (they then store nothing).
  explicit Flights(Cache& cache);
  ~Flights();
  Flights(const Flights&) = delete;
  Flights& operator=(const Flights&) = delete;

  // Looks up in memory, joins or starts, in this order and in one step: an identical request never falls between the end of a computation
  // and its answer being stored. Calls Engine::submit, which may fail before this returns. Cost of a hit: one look-up.
  [[nodiscard]] Outcome enter(const Order& order, engine::Engine& engine, std::function<void()> wake);

 private:
  friend class Flight;
  struct Table;
  [[nodiscard]] std::optional<Hit> decoded(const Order& order, const Handle& stored) const;
  [[nodiscard]] std::shared_ptr<Flight> join_or_make(const Order& order, engine::Engine& engine, std::function<void()> wake, Outcome& outcome);
  std::shared_ptr<Table> table_;
};

}   // namespace tensorcache::answer
