// Orders values by what keeping them is worth, as a ReuseModel has learned it. The same for the real values and for those of a shadow.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "policy/policy.h"
#include "policy/reuse_model.h"

namespace tensorcache {

// Uses of a node: its links, `queue` (the class), `age` and `used_at` (the request that used it last).
class WorthOrder {
 public:
  explicit WorthOrder(const ReuseModel& model) : model_(model), lists_(kClasses * kAges) {}

  // Takes in one of its class that was used in the present request: the last of them to go, or the first.
  void put_last(PolicyNode& node) { put_last(node, 0); }
  // Of any time; the first of its class and age to go.
  void put_first(PolicyNode& node);
  void take(PolicyNode& node);
  // Null if there is none. It stays.
  [[nodiscard]] PolicyNode* least_worth();
  // By the last use, those that are over before all others.
  [[nodiscard]] PolicyNode* oldest();
  // Of those of the request at hand, the first to go; null if there is none.
  [[nodiscard]] PolicyNode* present() { return lists_[slot(ReuseModel::kPresent, 0)].first; }
  // Puts what has become older among those of its age. Cheap to call often.
  void keep_time(std::uint32_t now);
  // The model has learned.
  void ranked();

 private:
  static constexpr std::size_t kClasses = ReuseModel::kClasses, kAges = ReuseModel::kAges;
  struct List {
    PolicyNode *first = nullptr, *last = nullptr;   // to go
  };
  [[nodiscard]] static std::size_t slot(std::size_t c, std::size_t age) { return c * kAges + age; }
  List& list(const PolicyNode& node) { return lists_[slot(node.queue, node.age)]; }
  void put_last(PolicyNode& node, std::size_t age);
  void mark(std::size_t c, std::size_t age);

  const ReuseModel& model_;
  std::vector<List> lists_;
  std::array<std::uint64_t, kAges> classes_{};                           // by age: a bit for each class that has such values
  std::uint64_t ages_ = 0, ages_over_ = 0;                               // a bit for each age that any has; that values that are over have
  std::array<std::uint64_t, kClasses * kAges / 64> places_{};            // a bit for each place in the model's order
  std::uint32_t now_ = 0;                                                // requests
  std::array<std::uint32_t, kAges> looked_at_{};                         // by age: when it was made sure that none is older
};

}   // namespace tensorcache
