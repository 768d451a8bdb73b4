// GDSF, greedy dual size frequency (Cherkasova, 1998): the value of an entry is uses x cost / size,
// plus the value of the last evicted entry, so that old entries age.
#include <algorithm>

#include "store/policy/node_heap.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

class Gdsf final : public Policy {
  static auto& uses(auto& node) { return node.count; }

 public:
  void use_memory(MemoryAccount& account) override { nodes_.use_memory(account); }
  void shed() override { nodes_.shed(); }
  void insert(PolicyNode& node) override {
    uses(node) = 1;
    nodes_.push(node, worth(node));
  }
  void touch(PolicyNode& node) override {
    ++uses(node);
    nodes_.change(node, worth(node));
  }
  void erase(PolicyNode& node) override { nodes_.erase(node); }
  PolicyNode* pop() override {
    age_ = std::max(age_, nodes_.lowest_rank());
    return nodes_.pop();
  }
  void restore(PolicyNode& node) override { nodes_.push(node, 0); }

 private:
  [[nodiscard]] double worth(const PolicyNode& node) const {
    const auto bytes = static_cast<double>(std::max<std::uint64_t>(1, node.charge_bytes));
    return age_ + static_cast<double>(uses(node)) * static_cast<double>(node.cost_seconds) / bytes;
  }

  NodeHeap nodes_;
  double age_ = 0;
};

}   // namespace

std::unique_ptr<Policy> make_gdsf() { return std::make_unique<Gdsf>(); }

}   // namespace tensorcache::policy
