// LFU: evicts the least frequently used entry; ties go to the one that has been so for longest.
#include "store/policy/node_heap.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

class Lfu final : public Policy {
  static auto& uses(auto& node) { return node.count; }

 public:
  void use_memory(MemoryAccount& account) override { nodes_.use_memory(account); }
  void shed() override { nodes_.shed(); }
  void insert(PolicyNode& node) override {
    uses(node) = 1;
    nodes_.push(node, 1);
  }
  void touch(PolicyNode& node) override { nodes_.change(node, ++uses(node)); }
  void erase(PolicyNode& node) override { nodes_.erase(node); }
  PolicyNode* pop() override { return nodes_.pop(); }
  void restore(PolicyNode& node) override { nodes_.push(node, 0); }

 private:
  NodeHeap nodes_;
};

}   // namespace

std::unique_ptr<Policy> make_lfu() { return std::make_unique<Lfu>(); }

}   // namespace tensorcache::policy
