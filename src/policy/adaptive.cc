// Our own, for blocks of prefixes: what is least likely to come back for its place goes first, as learned (WorthOrder). Two shadow caches,
// one that does so and one that is plain LRU, say which of the two is followed.
#include <algorithm>
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
    compare();
    request_ = request;
    order_.begin(request);
  }
  void insert(PolicyNode& node) override {
    inserted_.push_back({node.hash, node.charge_bytes});
    order_.insert(node);
  }
  void touch(PolicyNode& node) override {
    touched_.push_back({node.hash, node.charge_bytes});
    order_.touch(node);
  }
  void erase(PolicyNode& node) override { order_.erase(node); }
  PolicyNode* pop() override { return follow_learned_ ? order_.pop() : order_.pop_oldest(); }
  void restore(PolicyNode& node) override { order_.restore(node); }

 private:
  // The last request's chain is what was touched, from its first value on, then what was inserted.
  void compare() {
    std::reverse(touched_.begin(), touched_.end());
    touched_.insert(touched_.end(), inserted_.begin(), inserted_.end());
    const auto by_lru = static_cast<double>(lru_.use(touched_, request_));
    const auto by_learned = static_cast<double>(learned_.use(touched_, request_));
    lead_ = std::clamp(lead_ + by_learned - by_lru, -kMostLead * capacity_, kMostLead * capacity_);
    if (lead_ > kLeadToChange * capacity_) follow_learned_ = true;
    if (lead_ < 0) follow_learned_ = false;
    touched_.clear();
    inserted_.clear();
  }

  WorthOrder order_;   // of the real values, whichever is followed
  ShadowStore lru_{make_lru()}, learned_{std::make_unique<WorthOrder>()};
  std::vector<ShadowStore::Access> touched_, inserted_;   // by the present request
  RequestTraits request_;
  double capacity_ = 0, lead_ = 0;   // bytes; lead: that the learned order found and LRU did not
  bool follow_learned_ = false;
};

}   // namespace

std::unique_ptr<Policy> make_adaptive() { return std::make_unique<Adaptive>(); }

}   // namespace tensorcache
