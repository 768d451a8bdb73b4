// SIEVE (Zhang et al., NSDI 2024): a hand moves from the oldest to the newest entry, skips visited
// entries, and evicts the first unvisited one.
#include "store/policy/node_list.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

class Sieve final : public Policy {
  // The tick up to which uses do not count.
  static auto& counted_until(auto& node) { return node.stamp; }

 public:
  [[nodiscard]] bool reads_ticks() const override { return true; }
  void insert(PolicyNode& node) override {
    spare_no_more(node);
    nodes_.push_front(node);
  }
  void touch(PolicyNode& node) override { counted_until(node) = node.last_use() - 1; }
  void erase(PolicyNode& node) override {
    if (hand_ == &node) hand_ = nodes_.newer(node);
    nodes_.unlink(node);
  }
  PolicyNode* pop() override {
    PolicyNode* node = hand_ != nullptr ? hand_ : nodes_.back();
    if (node == nullptr) return nullptr;
    for (std::size_t chances = 0; was_used(*node) && chances < kMaxChances; ++chances) {
      spare_no_more(*node);
      node = nodes_.newer(*node);
      if (node == nullptr) node = nodes_.back();
    }
    hand_ = node;
    erase(*node);
    return node;
  }
  void restore(PolicyNode& node) override {
    spare_no_more(node);
    if (hand_ == nullptr) {
      nodes_.push_back(node);
    } else {
      nodes_.link_behind(*hand_, node);
      hand_ = &node;
    }
  }

 private:
  static bool was_used(const PolicyNode& node) { return node.last_use() != counted_until(node); }
  static void spare_no_more(PolicyNode& node) { counted_until(node) = node.last_use(); }

  NodeList nodes_;
  PolicyNode* hand_ = nullptr;   // whose turn it is next; null: the oldest
};

}   // namespace

std::unique_ptr<Policy> make_sieve() { return std::make_unique<Sieve>(); }

}   // namespace tensorcache::policy
