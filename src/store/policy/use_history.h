// The history of recently used values, cached or not: the last use of each, and which of them plain
// LRU and the learned order would hold. The ReuseModel learns from it.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "store/policy/flat_map.h"
#include "store/policy/pool.h"
#include "store/policy/reuse_model.h"
#include "store/policy/expected_value_order.h"

namespace tensorcache::policy {

// One use of a value.
struct Use {
  std::uint64_t hash = 0, parent_hash = 0;   // parent: what it is chained behind; 0: nothing
  std::uint64_t charge_bytes = 0;
};

struct Before {
  std::uint32_t uses = 0, used_at = 0;   // how often, and by which request the last time
};

// All in proportion to the capacity it is given: values may be left out of it, if the capacity is
// made less by as much and those that are chained behind them are said to be chained behind what
// these were.
class History {
 public:
  // `is_selective`: whether the learned order takes in only what is worth its place.
  History(ReuseModel& model, bool is_selective) : model_(model), order_(model), selects_(is_selective) {}
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  // Before anything is used.
  void use_memory(MemoryAccount& account) {
    known_.use_memory(account);
    pool_.use_memory(account);
    order_.use_memory(account);
  }
  void resize(double capacity_bytes);
  // What is used from here on belongs to the next request.
  void begin(std::uint32_t now);
  // From the last value of a chain's leading run to its first.
  void use_run(std::span<const Use> run, const ReuseTraits& traits);
  // Returns how it had been used before, as far as is known.
  Before use(const Use& value, const ReuseTraits& traits);
  [[nodiscard]] Before before(std::uint64_t hash) const;
  // Says what the request at hand was; `traits` without what is the value's own.
  void end(ReuseTraits traits);
  // It is said not to be used again.
  void demote(std::uint64_t hash);
  void prefetch(std::uint64_t hash) const { known_.prefetch(hash); }

  // How many bytes the learned order has found and plain LRU has not, since this was asked last.
  [[nodiscard]] double take_lead() { return std::exchange(lead_, 0); }
  // Lets the model learn.
  void learn(double values_per_request) noexcept;

 private:
  struct Known : PolicyNode {   // its place is in the shadow of the learned order
    Known* above = nullptr;     // what it is chained behind
    Known *newer = nullptr, *older = nullptr;
    std::uint32_t children = 0, holders = 0;   // chained behind it: that are known; that are in the shadow
    [[nodiscard]] double bytes() const { return static_cast<double>(charge_bytes); }
    bool in_lru = false, in_shadow = false, parked = false, is_linked = false, is_used = false;
  };

  Known* create(const Use& value, Known* above) noexcept;
  void forget_old() noexcept;
  void note_use(Known& value);

  // By the last use; the first so many, up to lru_last_, are what LRU would have.
  void link_behind(Known* newer, Known& value);
  void unlink(Known& value);
  void enter_lru(Known& value, Known* newer);
  void trim_lru();

  void touch_shadow(Known& value);
  void enter_shadow(Known& value, ReuseTraits traits);
  bool make_shadow_room(double bytes);
  void let_go(Known* value);

  ReuseModel& model_;
  ExpectedValueOrder order_;   // of the shadow
  const bool selects_;
  FlatMap<Known> known_;
  Pool<Known> pool_;
  Known *newest_ = nullptr, *oldest_ = nullptr, *lru_last_ = nullptr;
  double capacity_ = 0, known_bytes_ = 0, lru_bytes_ = 0, shadow_bytes_ = 0, lead_ = 0;
  std::uint32_t now_ = 0;
  std::size_t run_ = 0;           // of present_, how many were the run's
  std::vector<Known*> present_;   // used in the request at hand
  std::size_t looked_at_ = 0;     // of the pool, by learn()
};

}   // namespace tensorcache::policy
