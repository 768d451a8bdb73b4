#include "policy/shadow_store.h"

#include <new>

namespace tensorcache {

std::uint64_t ShadowStore::use(std::span<const Access> chain, RequestTraits request) {
  std::uint64_t hit_bytes = 0;
  Node* last = nullptr;
  request.hits = 0;
  for (const Access& access : chain) {
    const auto found = nodes_.find(access.hash);
    if (found == nodes_.end()) break;
    last = &found->second;
    hit_bytes += access.bytes;
    ++request.hits;
  }
  policy_->begin(request);
  for (Node* node = last; node != nullptr; node = node->parent) {
    if (std::exchange(node->parked, false)) policy_->restore(*node);
    policy_->touch(*node);
  }
  if (last != nullptr) ++last->holders;
  for (const Access& access : chain.subspan(request.hits)) {
    if (access.bytes > capacity_ || nodes_.contains(access.hash)) break;
    try {
      Node& node = nodes_[access.hash];
      node.hash = access.hash;
      node.charge_bytes = access.bytes;
      node.holders = 1;   // this request; then what comes next
      policy_->announce(node);
      if (!make_room(access.bytes)) {
        nodes_.erase(access.hash);
        break;
      }
      used_ += access.bytes;
      node.parent = last;
      policy_->insert(node);
      last = &node;   // its parent keeps the hold the request had on it
    } catch (const std::bad_alloc&) {
      break;
    }
  }
  let_go(last);
  return hit_bytes;
}

void ShadowStore::let_go(Node* node) {
  if (node != nullptr && --node->holders == 0 && std::exchange(node->parked, false)) policy_->restore(*node);
}

void ShadowStore::evict(Node* node) {
  used_ -= node->charge_bytes;
  Node* const parent = node->parent;
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
