// A cache of chains without its values: what another policy would have had.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "policy/policy.h"

namespace tensorcache {

// The store's rules: what is chained behind a value holds it; a chain is touched from its last value to its first.
class ShadowStore {
 public:
  explicit ShadowStore(std::unique_ptr<Policy> policy) : policy_(std::move(policy)) {}
  void resize(std::uint64_t capacity_bytes) {
    capacity_ = capacity_bytes;
    policy_->resize(capacity_bytes);
    static_cast<void>(make_room(0));
  }
  [[nodiscard]] bool contains(std::uint64_t hash) const { return nodes_.contains(hash); }
  // What is used from here on belongs to this request.
  void begin(const RequestTraits& request) { policy_->begin(request); }
  // Returns whether it was there. It is there now, if what it is chained behind is and there is room.
  bool use(const PolicyNode& value);

 private:
  struct Node : PolicyNode {
    std::uint32_t holders = 0;
    bool parked = false;
  };
  [[nodiscard]] bool insert(const PolicyNode& value, Node* parent);
  void let_go(Node* node);
  void evict(Node* node);
  [[nodiscard]] bool make_room(std::uint64_t bytes);

  std::unique_ptr<Policy> policy_;
  std::unordered_map<std::uint64_t, Node> nodes_;
  std::uint64_t capacity_ = 0, used_ = 0;
};

}   // namespace tensorcache
