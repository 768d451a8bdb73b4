#include "policy/shadow_store.h"

#include <new>

namespace tensorcache {

bool ShadowStore::use(const PolicyNode& value) {
  const auto found = nodes_.find(value.hash);
  if (found != nodes_.end()) {
    Node& node = found->second;
    if (std::exchange(node.parked, false)) policy_->restore(node);
    policy_->touch(node);
    return true;
  }
  Node* parent = nullptr;
  if (value.parent != nullptr) {
    const auto above = nodes_.find(value.parent->hash);
    if (above == nodes_.end()) return false;
    parent = &above->second;
    ++parent->holders;
  }
  if (!insert(value, parent)) let_go(parent);
  return false;
}

bool ShadowStore::insert(const PolicyNode& value, Node* parent) {
  policy_->announce(value);
  if (value.charge_bytes > capacity_ || !make_room(value.charge_bytes)) return false;
  Node* node = nullptr;
  try {
    node = &nodes_[value.hash];
  } catch (const std::bad_alloc&) {
    return false;
  }
  node->hash = value.hash;
  node->charge_bytes = value.charge_bytes;
  node->parent = parent;
  used_ += value.charge_bytes;
  policy_->insert(*node);
  return true;
}

void ShadowStore::let_go(Node* node) {
  if (node != nullptr && --node->holders == 0 && std::exchange(node->parked, false)) policy_->restore(*node);
}

void ShadowStore::evict(Node* node) {
  used_ -= node->charge_bytes;
  auto* const parent = static_cast<Node*>(node->parent);
  nodes_.erase(node->hash);
  let_go(parent);
}

bool ShadowStore::make_room(std::uint64_t bytes) {
  while (used_ + bytes > capacity_) {
    Node* const node = static_cast<Node*>(policy_->pop());
    if (node == nullptr) return false;
    if (node->holders > 0) {
      node->parked = true;
    } else {
      evict(node);
    }
  }
  return true;
}

}   // namespace tensorcache
