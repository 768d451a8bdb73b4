#include "serving/answer/flight.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_map>
#include <utility>

#include "serving/engine/tenant.h"

namespace tensorcache::answer {
namespace {

constexpr std::chrono::milliseconds kWakeAgainAfter{5};
constexpr int kLastWakeTries = 200;   // one second: no further event would wake a follower

}   // namespace

struct Flights::Table {
  std::mutex mutex;
  Cache* cache = nullptr;   // null once Flights is destroyed
  std::unordered_map<Key, std::shared_ptr<Flight>> running;

  void take_off(const Key& key, const Flight* flight) {
    const auto at = running.find(key);
    if (at != running.end() && at->second.get() == flight) running.erase(at);
  }
};

// The sink of one computation. The engine appends events, which never change afterwards: followers
// get their addresses under the lock and read them without it.
class Flight final : public engine::Sink {
 public:
  Flight(const Flights::Order& order, engine::Engine& engine, std::shared_ptr<Flights::Table> table)
      : table_(std::move(table)),
        engine_(engine),
        request_(order.request),
        key_(order.key),
        salt_(order.salt),
        store_(order.store),
        time_to_live_(order.time_to_live),
        created_unix_s_(std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count()) {}

  [[nodiscard]] std::int64_t created_unix_s() const { return created_unix_s_; }

  // REQUIRES: the table's lock is held if the flight is in the table.
  std::uint64_t add(std::function<void()> wake) {
    const std::lock_guard lock(mutex_);
    followers_.push_back({++last_id_, std::move(wake), false});
    return last_id_;
  }

  void start(const std::shared_ptr<Flight>& self) {
    const engine::Engine::Id id = engine_.submit(request_, self);
    std::unique_lock lock(mutex_);
    engine_id_ = id;
    const bool cancel = abandoned_ && !ended_;
    lock.unlock();
    if (cancel) engine_.cancel(id);
  }

  void remove(std::uint64_t id) {
    std::optional<engine::Engine::Id> cancel;
    {
      const std::lock_guard table_lock(table_->mutex);
      const std::lock_guard lock(mutex_);
      std::erase_if(followers_, [id](const Entry& entry) { return entry.id == id; });
      if (!followers_.empty() || ended_) return;
      abandoned_ = true;   // later identical requests start a new flight
      table_->take_off(key_, this);
      cancel = engine_id_;
    }
    if (cancel) engine_.cancel(*cancel);
  }

  bool read(std::uint64_t id, Follower::Events& events, Follower::Seen& seen, std::size_t max_deltas) {
    events = {.deltas = std::move(events.deltas)};
    events.deltas.clear();
    const std::lock_guard lock(mutex_);
    events.accepted = accepted_ && !std::exchange(seen.accepted, accepted_);
    if (begin_ && !std::exchange(seen.begin, true)) events.begin = &*begin_;
    for (; seen.deltas < deltas_.size() && events.deltas.size() < max_deltas; ++seen.deltas) events.deltas.push_back(&deltas_[seen.deltas]);
    if (ended_ && seen.deltas == deltas_.size() && !std::exchange(seen.end, true)) {
      events.finish = finish_ ? &*finish_ : nullptr;
      events.failure = failure_ ? &*failure_ : nullptr;
      events.stored = stored_;
    }
    if (events.accepted || events.has_more()) return true;
    for (Entry& entry : followers_)
      if (entry.id == id) entry.waiting = true;
    return false;
  }

  void on_accepted() override {
    const std::lock_guard lock(mutex_);
    accepted_ = true;
    static_cast<void>(wake_all());
  }

  void on_begin(const engine::Begin& begin) override {
    const std::lock_guard lock(mutex_);
    begin_ = begin;
    static_cast<void>(wake_all());
  }

  void on_delta(engine::Delta delta) override {
    const std::lock_guard lock(mutex_);
    deltas_.push_back(std::move(delta));
    static_cast<void>(wake_all());
  }

  void on_finish(const engine::Finish& finish) override {
    const std::string encoded = is_storable(finish) ? encoded_answer(finish) : std::string();
    const std::uint32_t source = engine_.info().source;
    const std::lock_guard table_lock(table_->mutex);
    const bool kept = !encoded.empty() && keep(encoded, source, finish.prefill + finish.decode);
    table_->take_off(key_, this);
    const std::lock_guard lock(mutex_);
    finish_ = finish;
    stored_ = kept;
    end();
  }

  void on_failure(const engine::Failure& failure) override {
    const std::lock_guard table_lock(table_->mutex);
    table_->take_off(key_, this);
    const std::lock_guard lock(mutex_);
    try {
      failure_ = failure;
    } catch (const std::bad_alloc&) {   // without its text then
      failure_.emplace().code = failure.code;
    }
    end();
  }

 private:
  struct Entry {
    std::uint64_t id;
    std::function<void()> wake;
    bool waiting;
  };

  // RETURNS false if there was no memory to wake a follower; the next event retries.
  [[nodiscard]] bool wake_all() {
    bool all = true;
    for (Entry& entry : followers_) {
      if (!entry.waiting) continue;
      try {
        entry.wake();
        entry.waiting = false;
      } catch (const std::bad_alloc&) {
        all = false;
      }
    }
    return all;
  }

  void end() {
    ended_ = true;
    for (int tries = 1; !wake_all() && tries < kLastWakeTries; ++tries) std::this_thread::sleep_for(kWakeAgainAfter);
  }

  // With another --ctx-size the response would be different, and the key does not include it.
  [[nodiscard]] bool ended_for_the_context(const engine::Finish& finish) const {
    return finish.reason == engine::FinishReason::kLength && (request_->max_tokens <= 0 || finish.usage.completion_tokens < request_->max_tokens);
  }

  [[nodiscard]] bool is_storable(const engine::Finish& finish) const {
    if (!store_ || ended_for_the_context(finish)) return false;
    try {
      return engine_.answer_salt() == salt_;   // a template may have printed a later time than the key has
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  // RETURNS an empty string if out of memory. Only this thread writes deltas_, so it reads them
  // without the lock.
  [[nodiscard]] std::string encoded_answer(const engine::Finish& finish) const {
    try {
      return encode_answer({{deltas_.begin(), deltas_.end()}, finish.reason, finish.stop_sequence, finish.usage, created_unix_s_});
    } catch (const std::bad_alloc&) {
      return {};
    }
  }

  // Stores the response; failing to is no error. Replaces a stored one: the request asked for a
  // refresh. REQUIRES: the table's lock is held.
  [[nodiscard]] bool keep(const std::string& encoded, std::uint32_t source, std::chrono::microseconds took) {
    try {
      return table_->cache != nullptr && put(encoded, source, took);
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  bool put(const std::string& encoded, std::uint32_t source, std::chrono::microseconds took) {
    const PutOptions options{.kind = Kind::kAnswer,
                             .owner = engine::tenant_owner(request_->tenant),
                             .source = source,
                             .cost_seconds = std::chrono::duration<float>(took).count(),
                             .time_to_live = time_to_live_,
                             .hints = request_->hints,
                             .replaces = table_->cache->contains(key_)};
    return table_->cache->put(key_, std::string_view(encoded), options) == PutStatus::kStored;
  }

  const std::shared_ptr<Flights::Table> table_;
  engine::Engine& engine_;
  const std::shared_ptr<const engine::Request> request_;
  const Key key_;
  const std::string salt_;
  const bool store_;
  const std::chrono::milliseconds time_to_live_;
  const std::int64_t created_unix_s_;

  std::mutex mutex_;   // guards all members below
  std::vector<Entry> followers_;
  std::uint64_t last_id_ = 0;
  std::optional<engine::Engine::Id> engine_id_;
  bool abandoned_ = false, accepted_ = false, ended_ = false, stored_ = false;
  std::optional<engine::Begin> begin_;
  std::deque<engine::Delta> deltas_;   // a deque, for stable addresses
  std::optional<engine::Finish> finish_;
  std::optional<engine::Failure> failure_;
};

Follower::Follower(Follower&& other) noexcept { *this = std::move(other); }

Follower& Follower::operator=(Follower&& other) noexcept {
  if (this == &other) return *this;
  leave();
  flight_ = std::move(other.flight_);
  id_ = other.id_;
  seen_ = other.seen_;
  return *this;
}

bool Follower::next(Events& events, std::size_t max_deltas) { return flight_->read(id_, events, seen_, max_deltas); }

std::int64_t Follower::created_unix_s() const { return flight_->created_unix_s(); }

void Follower::leave() {
  if (const std::shared_ptr<Flight> flight = std::exchange(flight_, nullptr)) flight->remove(id_);
}

Flights::Flights(Cache& cache) : table_(std::make_shared<Table>()) { table_->cache = &cache; }

Flights::~Flights() {
  const std::lock_guard lock(table_->mutex);
  table_->cache = nullptr;
  table_->running.clear();
}

// RETURNS nothing if the response is damaged or does not fit into the context.
std::optional<Flights::Hit> Flights::decoded(const Order& order, const Handle& stored) const {
  std::optional<Answer> answer = decode_answer(stored.text());
  if (!answer) {   // damaged: treat as not stored
    table_->cache->remove(order.key);
    return std::nullopt;
  }
  const std::int64_t tokens = std::int64_t{answer->usage.prompt_tokens} + answer->usage.completion_tokens;
  if (order.context_tokens > 0 && tokens > order.context_tokens) return std::nullopt;
  return Hit{std::move(*answer), stored.age()};
}

// RETURNS a flight to start, or null. REQUIRES: the table's lock is held.
std::shared_ptr<Flight> Flights::join_or_make(const Order& order, engine::Engine& engine, std::function<void()> wake, Outcome& outcome) {
  if (!order.compute) return nullptr;
  if (order.join) {
    if (const auto running = table_->running.find(order.key); running != table_->running.end()) {
      outcome.follower = Follower(running->second, running->second->add(std::move(wake)));
      outcome.collapsed = true;
      return nullptr;
    }
  }
  auto flight = std::make_shared<Flight>(order, engine, table_);
  outcome.follower = Follower(flight, flight->add(std::move(wake)));
  // A flight that does not store leaves a running one in the table.
  if (order.store) table_->running.try_emplace(order.key, flight);
  return flight;
}

Flights::Outcome Flights::enter(const Order& order, engine::Engine& engine, std::function<void()> wake) {
  Outcome outcome;
  std::shared_ptr<Flight> flight;
  for (bool look_up = order.look_up;; look_up = false) {
    Handle stored;   // released without the lock
    {
      const std::lock_guard lock(table_->mutex);
      if (look_up) {
        const bool below = !order.asked_below && table_->cache->has_lower_tiers();
        stored = below ? table_->cache->find(order.key) : table_->cache->get(order.key, Tiers::kMemoryOnly);
        outcome.ask_below = below && !stored;
        if (outcome.ask_below) return outcome;
        outcome.too_old = stored && order.max_age && stored.age() > *order.max_age;
      }
      if (!stored || outcome.too_old) {
        flight = join_or_make(order, engine, std::move(wake), outcome);
        break;
      }
    }
    outcome.hit = decoded(order, stored);
    if (outcome.hit) return outcome;
  }
  if (!flight) return outcome;
  try {
    flight->start(flight);
  } catch (const std::exception& error) {   // other requests may have joined it
    flight->on_failure({engine::Failure::Code::kInternal, std::string("the request cannot be started: ") + error.what(), ""});
    throw;
  }
  return outcome;
}

}   // namespace tensorcache::answer
