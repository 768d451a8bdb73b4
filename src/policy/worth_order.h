// Orders values by what keeping them is worth, as learned from when those of their class came back.
#pragma once

#include <deque>
#include <unordered_map>
#include <vector>

#include "policy/node_list.h"
#include "policy/policy.h"
#include "policy/reuse_model.h"

namespace tensorcache {

// A value's class: how often it was used, and of the request that used it last what share was there and how long the answer was.
class WorthOrder final : public Policy {
 public:
  WorthOrder();
  void resize(std::uint64_t capacity_bytes) override;
  void begin(const RequestTraits& request) override;
  void insert(PolicyNode& node) override;
  void touch(PolicyNode& node) override;
  void erase(PolicyNode& node) override { take(node); }
  [[nodiscard]] PolicyNode* pop() override;
  // The least recently used instead.
  [[nodiscard]] PolicyNode* pop_oldest();
  void restore(PolicyNode& node) override;
  void demote(PolicyNode& node) override;

 private:
  static constexpr std::size_t kClasses = ReuseModel::kClasses, kAges = ReuseModel::kAges;
  struct Past {   // of an evicted value
    std::uint64_t hash, used_at, bytes;
    std::uint8_t value_class;
    bool back;
  };

  [[nodiscard]] static std::size_t slot(std::size_t c, std::size_t age) { return c * kAges + age; }
  NodeList& list(const PolicyNode& node) { return lists_[slot(node.queue, node.age)]; }
  [[nodiscard]] std::uint32_t since(const PolicyNode& node) const { return static_cast<std::uint32_t>(now_) - node.used_at; }   // requests
  void mark(const PolicyNode& node);
  void take(PolicyNode& node);
  void use(PolicyNode& node);
  PolicyNode* give_up(PolicyNode* node);

  void remember(const PolicyNode& node) noexcept;
  const Past* take_past(std::uint64_t hash) noexcept;
  void forget_old() noexcept;

  void keep_time();
  void place_all();
  void rank();

  std::vector<NodeList> lists_;               // by class and age; the oldest at the back
  std::vector<std::size_t> order_, places_;   // lists by worth, the least first; and where each stands
  std::vector<std::uint64_t> occupied_;       // a bit for each place
  ReuseModel model_;
  std::deque<Past> past_;                                          // oldest first
  std::unordered_map<std::uint64_t, std::uint64_t> past_places_;   // by hash: place in past_, from the first ever
  std::uint64_t past_first_ = 0, past_bytes_ = 0;
  std::uint64_t capacity_ = 0;
  std::uint64_t now_ = 0;   // requests
  std::uint64_t uses_ = 0, aged_uses_ = 0, learned_uses_ = 0;
  // Of the present request.
  std::size_t traits_ = 0;
  std::uint64_t left_ = 0;          // values that are to come
  bool last_ = false;               // the value at hand ends its chain
  double values_per_request_ = 1;   // a running mean
};

}   // namespace tensorcache
