// ARC (Megiddo and Modha, FAST 2003): a list of entries used once, a list of entries used again;
// hits in their ghost lists move the share of the first.
#include <algorithm>
#include <cmath>

#include "store/policy/ghosts.h"
#include "store/policy/node_list.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

class Arc final : public Policy {
  static auto& queue(auto& node) { return node.tag; }

 public:
  void use_memory(MemoryAccount& account) override {
    gone_once_.use_memory(account);
    gone_again_.use_memory(account);
  }
  void shed() override {
    gone_once_.shed();
    gone_again_.shed();
  }
  void resize(std::uint64_t capacity_bytes) override {
    capacity_ = capacity_bytes;
    wanted_once_ = std::min(wanted_once_, static_cast<double>(capacity_));
  }
  [[nodiscard]] bool wants_reservations() const override { return true; }
  void on_reserve(const PolicyNode& node) override {
    came_from_again_ = gone_again_.contains(node.hash);
    const auto bytes = static_cast<double>(node.charge_bytes);
    const auto share = [](const Ghosts& a, const Ghosts& b) {
      return std::max(1.0, static_cast<double>(a.bytes()) / static_cast<double>(std::max<std::uint64_t>(1, b.bytes())));
    };
    if (gone_once_.contains(node.hash)) {
      wanted_once_ = std::min(static_cast<double>(capacity_), wanted_once_ + bytes * share(gone_again_, gone_once_));
    } else if (came_from_again_) {
      wanted_once_ = std::max(0.0, wanted_once_ - bytes * share(gone_once_, gone_again_));
    } else {
      while (!gone_once_.empty() && once_.bytes() + gone_once_.bytes() + node.charge_bytes > capacity_) gone_once_.forget_oldest();
      while (!gone_again_.empty() && all() + node.charge_bytes > 2 * capacity_) gone_again_.forget_oldest();
    }
  }
  void insert(PolicyNode& node) override {
    const bool known = gone_once_.forget(node.hash) || gone_again_.forget(node.hash);
    came_from_again_ = false;
    push(node, known ? kAgain : kOnce);
  }
  void touch(PolicyNode& node) override {
    list(node).unlink(node);
    push(node, kAgain);
  }
  void erase(PolicyNode& node) override { list(node).unlink(node); }
  PolicyNode* pop() override {
    const auto once = static_cast<double>(once_.bytes());
    const bool from_once = !once_.empty() && (once > wanted_once_ || again_.empty() || (came_from_again_ && once >= wanted_once_));
    PolicyNode* node = (from_once ? once_ : again_).pop_back();
    if (node == nullptr) return nullptr;
    // Where the first list fills everything there is nothing to learn from what it loses.
    if (!from_once) {
      gone_again_.remember(*node);
    } else if (once_.bytes() + gone_once_.bytes() + node->charge_bytes <= capacity_) {
      gone_once_.remember(*node);
    }
    return node;
  }
  void restore(PolicyNode& node) override {
    gone_once_.forget(node.hash);
    gone_again_.forget(node.hash);
    list(node).push_back(node);
  }

 private:
  static constexpr std::uint8_t kOnce = 0, kAgain = 1;
  NodeList& list(const PolicyNode& node) { return queue(node) == kOnce ? once_ : again_; }
  void push(PolicyNode& node, std::uint8_t to) {
    queue(node) = to;
    list(node).push_front(node);
  }
  [[nodiscard]] std::uint64_t all() const { return once_.bytes() + again_.bytes() + gone_once_.bytes() + gone_again_.bytes(); }

  NodeList once_, again_;
  Ghosts gone_once_, gone_again_;
  std::uint64_t capacity_ = 0;
  double wanted_once_ = 0;         // bytes that once_ may have
  bool came_from_again_ = false;   // the node that was announced
};

}   // namespace

std::unique_ptr<Policy> make_arc() { return std::make_unique<Arc>(); }

}   // namespace tensorcache::policy
