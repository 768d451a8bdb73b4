// Second chance: first in, first out, but what was used since it came to the end begins anew.
#include "policy/node_list.h"
#include "policy/policies.h"

namespace tensorcache {

namespace {

class Clock final : public Policy {
 public:
  [[nodiscard]] bool counts_uses() const override { return false; }
  void insert(PolicyNode& node) override {
    node.uses = 0;
    nodes_.push_front(node);
  }
  void touch(PolicyNode& node) override { node.uses = 1; }
  void erase(PolicyNode& node) override { nodes_.unlink(node); }
  PolicyNode* pop() override {
    while (PolicyNode* node = nodes_.pop_back()) {
      if (node->uses == 0) return node;
      insert(*node);
    }
    return nullptr;
  }
  void restore(PolicyNode& node) override { nodes_.push_back(node); }

 private:
  NodeList nodes_;
};

}   // namespace

std::unique_ptr<Policy> make_clock() { return std::make_unique<Clock>(); }

}   // namespace tensorcache
