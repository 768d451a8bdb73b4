// Applies hints before the policy: entries with a priority or a soft pin are kept apart from the
// policy's order.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "store/policy/node_list.h"
#include "store/policy/policy.h"
#include "tensorcache/hints.h"

namespace tensorcache::policy {

// Takes an order and goes before it: first what has a low priority, then what the order says, then
// what has a high one, last what is to be kept. Within one priority the least recently used goes
// first. No more than half of the capacity is kept or has a high priority: beyond that a hint is
// not followed, so that whoever gives them cannot have it all. Nor is it kept without an allowance.
class Retention final : public Policy {
 public:
  using Time = std::chrono::steady_clock::time_point;
  Retention(std::unique_ptr<Policy> order, std::function<Time()> now) : order_(std::move(order)), now_(std::move(now)) {}

  void use_memory(MemoryAccount& account) override { order_->use_memory(account); }
  void shed() override { order_->shed(); }
  void begin(const RequestTraits& request) override { order_->begin(request); }
  void end_run() override { order_->end_run(); }
  void resize(std::uint64_t capacity_bytes) override {
    capacity_bytes_ = capacity_bytes;
    order_->resize(capacity_bytes);
  }
  [[nodiscard]] bool wants_reservations() const override { return order_->wants_reservations(); }
  void on_reserve(const PolicyNode& node) override { order_->on_reserve(node); }
  [[nodiscard]] bool is_selective() const override { return order_->is_selective(); }
  bool admits(const PolicyNode& node) override { return order_->admits(node); }
  // What stands apart is to be told of.
  [[nodiscard]] bool reads_ticks() const override { return bands_.empty() && kept_.empty() && order_->reads_ticks(); }
  void insert(PolicyNode& node) override {
    node.band = kOrdered;
    order_->insert(node);
  }
  void touch(PolicyNode& node) override { node.band == kOrdered ? order_->touch(node) : touch_apart(node); }
  void erase(PolicyNode& node) override { node.band == kOrdered ? order_->erase(node) : take_apart(node); }
  [[nodiscard]] PolicyNode* pop() override;
  void restore(PolicyNode& node) override;
  void demote(PolicyNode& node) override;

  // Of a node that it holds. The last hints are the ones that count.
  void advise(PolicyNode& node, const Hints& hints);

  // Memory that each node it keeps takes outside the node, as malloc takes it. The owner charges so
  // much for each node that it advises to keep, and takes back what is not needed, or no longer.
  static constexpr std::uint64_t kKeptBytes = 80;
  [[nodiscard]] static bool keeps(const Hints& hints) { return hints.keep_for.count() > 0 || hints.expected_reuse.count() > 0; }
  void allow(std::uint64_t bytes) { allowed_bytes_ += bytes; }
  [[nodiscard]] std::uint64_t take_back() { return std::exchange(allowed_bytes_, 0); }

 private:
  // `band`: in the order, or of which priority (and one), or kept.
  static constexpr std::uint8_t kOrdered = 0, kUsual = Hints::kUsualPriority + 1, kKept = 255;
  // Where a kept node stands; noted in its own fields `until` and `place`.
  struct Until {
    std::int64_t time;
    std::uint64_t serial;   // of what is kept until the same time, what was said last goes first: the end of a chain
    friend bool operator<(const Until& a, const Until& b) { return a.time != b.time ? a.time < b.time : a.serial > b.serial; }
  };
  struct Kept {
    PolicyNode* node;
    std::uint8_t then;   // its band when the time is over
    bool for_reuse;      // it is kept to be used again: when it was, or was not in time, that is over
  };

  void touch_apart(PolicyNode& node);
  void take_apart(PolicyNode& node);
  void put(PolicyNode& node, std::uint8_t band);
  void keep(PolicyNode& node, Time until, std::uint8_t then, bool for_reuse);
  void let_go(const Kept& kept, bool used);
  [[nodiscard]] static bool goes_late(std::uint8_t band) { return band > kUsual; }
  PolicyNode* pop_band(std::map<std::uint8_t, NodeList>::iterator band);

  const std::unique_ptr<Policy> order_;
  const std::function<Time()> now_;
  std::map<std::uint8_t, NodeList> bands_;   // those in use
  std::map<Until, Kept> kept_;
  std::uint64_t serial_ = 0, allowed_bytes_ = 0;
  std::uint64_t capacity_bytes_ = 0, late_bytes_ = 0;   // late: of what goes after the order
};

}   // namespace tensorcache::policy
