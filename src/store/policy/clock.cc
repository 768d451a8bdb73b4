// CLOCK (second chance): FIFO order, but an entry used since it was last passed gets another round.
#include "store/policy/node_list.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

class Clock final : public Policy {
  // The tick up to which uses do not count.
  static auto& counted_until(auto& node) { return node.stamp; }

 public:
  [[nodiscard]] bool reads_ticks() const override { return true; }
  void insert(PolicyNode& node) override {
    spare_no_more(node);
    nodes_.push_front(node);
  }
  void touch(PolicyNode& node) override { counted_until(node) = node.last_use() - 1; }
  void erase(PolicyNode& node) override { nodes_.unlink(node); }
  PolicyNode* pop() override {
    for (std::size_t chances = 0;; ++chances) {
      PolicyNode* node = nodes_.pop_back();
      if (node == nullptr || !was_used(*node) || chances == kMaxChances) return node;
      insert(*node);
    }
  }
  void restore(PolicyNode& node) override { nodes_.push_back(node); }

 private:
  static bool was_used(const PolicyNode& node) { return node.last_use() != counted_until(node); }
  static void spare_no_more(PolicyNode& node) { counted_until(node) = node.last_use(); }

  NodeList nodes_;
};

}   // namespace

std::unique_ptr<Policy> make_clock() { return std::make_unique<Clock>(); }

}   // namespace tensorcache::policy
