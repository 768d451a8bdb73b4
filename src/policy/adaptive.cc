// Our own, for blocks of prefixes: what is least likely to come back for its place goes first, as learned (WorthOrder). Two shadow caches,
// one that does so and one that is plain LRU, say which of the two is followed.
#include <algorithm>
#include <new>
#include <vector>

#include "policy/policies.h"
#include "policy/shadow_store.h"
#include "policy/worth_order.h"

namespace tensorcache {

namespace {

// A change of order costs what the one before kept and the next one would have kept instead: so much of the capacity must have been won.
constexpr double kLeadToChange = 0.02;
constexpr double kMostLead = 2.0;   // what was won long ago does not count for ever

class Adaptive final : public Policy {
 public:
  void resize(std::uint64_t capacity_bytes) override {
    capacity_ = static_cast<double>(capacity_bytes);
    order_.resize(capacity_bytes);
    lru_.resize(capacity_bytes);
    learned_.resize(capacity_bytes);
  }
  void begin(const RequestTraits& request) override {
    compare_run();
    request_ = request;
    run_is_open_ = true;
    order_.begin(request);
  }
  void insert(PolicyNode& node) override {
    compare_run();
    lead_ += (learned_.use(node) ? charge(node) : 0) - (lru_.use(node) ? charge(node) : 0);
    order_.insert(node);
  }
  void touch(PolicyNode& node) override {
    if (run_.size() == request_.hits) compare_run();
    if (run_is_open_) {
      try {
        run_.push_back(node);
      } catch (const std::bad_alloc&) {   // the shadows miss one use
      }
    } else {   // a value by itself
      lead_ += (learned_.use(node) ? charge(node) : 0) - (lru_.use(node) ? charge(node) : 0);
    }
    order_.touch(node);
  }
  void erase(PolicyNode& node) override {
    compare_run();   // while its values live
    order_.erase(node);
  }
  PolicyNode* pop() override {
    compare_run();
    return follow_learned_ ? order_.pop() : order_.pop_oldest();
  }
  void restore(PolicyNode& node) override { order_.restore(node); }
  void demote(PolicyNode& node) override { order_.demote(node); }

 private:
  [[nodiscard]] static double charge(const PolicyNode& value) { return static_cast<double>(value.charge_bytes); }

  // What the shadows would have had of the run that was found; they take in what they had not, from its first value on.
  void compare_run() {
    if (!run_is_open_) return;
    run_is_open_ = false;
    lead_ += charge_found(learned_) - charge_found(lru_);
    lead_ = std::clamp(lead_, -kMostLead * capacity_, kMostLead * capacity_);
    if (lead_ > kLeadToChange * capacity_) follow_learned_ = true;
    if (lead_ < 0) follow_learned_ = false;
    run_.clear();
  }
  double charge_found(ShadowStore& shadow) {
    const auto there = [&](const PolicyNode& value) { return shadow.contains(value.hash); };
    const auto hits = static_cast<std::uint64_t>(std::count_if(run_.begin(), run_.end(), there));
    shadow.begin({.values = request_.values, .hits = hits, .output_tokens = request_.output_tokens});
    double found = 0;
    for (const PolicyNode& value : run_) {   // from its last value on, as the store touches
      if (there(value) && shadow.use(value)) found += charge(value);
    }
    for (auto value = run_.rbegin(); value != run_.rend(); ++value) {
      if (!there(*value)) static_cast<void>(shadow.use(*value));
    }
    return found;
  }

  WorthOrder order_;   // of the real values, whichever is followed
  ShadowStore lru_{make_lru()}, learned_{std::make_unique<WorthOrder>()};
  RequestTraits request_;
  std::vector<PolicyNode> run_;      // what it found, the last value first
  bool run_is_open_ = false;         // the shadows have not seen it yet
  double capacity_ = 0, lead_ = 0;   // bytes; lead: that the learned order found and LRU did not
  bool follow_learned_ = false;
};

}   // namespace

std::unique_ptr<Policy> make_adaptive() { return std::make_unique<Adaptive>(); }

}   // namespace tensorcache
