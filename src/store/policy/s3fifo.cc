// S3-FIFO (Yang et al., SOSP 2023): new entries pass a small queue; entries used twice there, or
// reused soon after, enter the main queue, where each use gives another round.
#include <algorithm>

#include "store/policy/ghosts.h"
#include "store/policy/node_list.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

constexpr std::uint32_t kMaxUses = 3, kUsesForMain = 2;
constexpr std::uint64_t kSmallShare = 10;   // one part in so many

class S3Fifo final : public Policy {
  static auto& queue(auto& node) { return node.tag; }
  static auto& uses(auto& node) { return node.count; }

 public:
  void use_memory(MemoryAccount& account) override { ghosts_.use_memory(account); }
  void shed() override { ghosts_.shed(); }
  void resize(std::uint64_t capacity_bytes) override {
    small_capacity_ = std::max<std::uint64_t>(1, capacity_bytes / kSmallShare);
    main_capacity_ = capacity_bytes - std::min(capacity_bytes, small_capacity_);
    ghosts_.keep_at_most(main_capacity_);
  }
  void insert(PolicyNode& node) override {
    uses(node) = 0;
    const bool came_back = ghosts_.forget(node.hash);
    const bool filling = !popped_ && small_.bytes() >= small_capacity_;   // at first there is room in the main queue
    push(node, came_back || filling ? kMain : kSmall);
  }
  void touch(PolicyNode& node) override { uses(node) = std::min(uses(node) + 1, kMaxUses); }
  void erase(PolicyNode& node) override { list(node).unlink(node); }
  PolicyNode* pop() override {
    popped_ = true;
    std::size_t chances = 0;   // given in this call
    if (main_.bytes() <= main_capacity_ || main_.empty()) {
      while (PolicyNode* node = small_.pop_back()) {
        if (uses(*node) < kUsesForMain || chances++ == kMaxChances) {
          ghosts_.remember(*node);
          ghosts_.keep_at_most(main_capacity_);
          return node;
        }
        uses(*node) = 0;
        push(*node, kMain);
      }
    }
    while (PolicyNode* node = main_.pop_back()) {
      if (uses(*node) == 0 || chances++ >= kMaxChances) return node;
      --uses(*node);
      main_.push_front(*node);
    }
    return small_.pop_back();
  }
  void restore(PolicyNode& node) override {
    ghosts_.forget(node.hash);
    uses(node) = 0;
    list(node).push_back(node);
  }

 private:
  static constexpr std::uint8_t kSmall = 0, kMain = 1;
  NodeList& list(const PolicyNode& node) { return queue(node) == kSmall ? small_ : main_; }
  void push(PolicyNode& node, std::uint8_t to) {
    queue(node) = to;
    list(node).push_front(node);
  }

  NodeList small_, main_;
  Ghosts ghosts_;   // of the small queue
  std::uint64_t small_capacity_ = 0, main_capacity_ = 0;
  bool popped_ = false;
};

}   // namespace

std::unique_ptr<Policy> make_s3fifo() { return std::make_unique<S3Fifo>(); }

}   // namespace tensorcache::policy
