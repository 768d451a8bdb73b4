// Least recently used. Chains of prefix blocks are touched from the last to the first, which makes it leaf-first too.
#include "policy/node_list.h"
#include "policy/policies.h"

namespace tensorcache {

namespace {

class Lru final : public Policy {
 public:
  [[nodiscard]] bool counts_uses() const override { return false; }
  void insert(PolicyNode& node) override { nodes_.push_front(node); }
  void touch(PolicyNode& node) override { nodes_.move_to_front(node); }
  void erase(PolicyNode& node) override { nodes_.unlink(node); }
  PolicyNode* pop() override { return nodes_.pop_back(); }
  void restore(PolicyNode& node) override { nodes_.push_back(node); }

 private:
  NodeList nodes_;   // most recently used first
};

}   // namespace

std::unique_ptr<Policy> make_lru() { return std::make_unique<Lru>(); }

}   // namespace tensorcache
