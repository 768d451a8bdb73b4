// FIFO: evicts the oldest entry; use does not matter.
#include "store/policy/node_list.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

class Fifo final : public Policy {
 public:
  [[nodiscard]] bool reads_ticks() const override { return true; }   // it could
  void insert(PolicyNode& node) override { nodes_.push_front(node); }
  void touch(PolicyNode&) override {}
  void erase(PolicyNode& node) override { nodes_.unlink(node); }
  PolicyNode* pop() override { return nodes_.pop_back(); }
  void restore(PolicyNode& node) override { nodes_.push_back(node); }

 private:
  NodeList nodes_;   // newest first
};

}   // namespace

std::unique_ptr<Policy> make_fifo() { return std::make_unique<Fifo>(); }

}   // namespace tensorcache::policy
