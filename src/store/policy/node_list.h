// Doubly linked lists through PolicyNode's own links: every operation is O(1) and allocates
// nothing.
#pragma once

#include "store/policy/policy.h"

namespace tensorcache::policy {

// Newest first.
class NodeRing {
 public:
  NodeRing() { head_.prev = head_.next = &head_; }
  NodeRing(const NodeRing&) = delete;
  NodeRing& operator=(const NodeRing&) = delete;

  [[nodiscard]] bool empty() const { return head_.next == &head_; }
  [[nodiscard]] PolicyNode* back() { return empty() ? nullptr : head_.prev; }
  // The one in front of it; null at the front.
  [[nodiscard]] PolicyNode* newer(const PolicyNode& node) { return node.prev == &head_ ? nullptr : node.prev; }

  void push_front(PolicyNode& node) { link_behind(head_, node); }
  void push_back(PolicyNode& node) { link_behind(*head_.prev, node); }
  static void link_behind(PolicyNode& before, PolicyNode& node) {
    node.prev = &before;
    node.next = before.next;
    before.next->prev = &node;
    before.next = &node;
  }
  static void unlink(PolicyNode& node) {   // of whichever ring it is in
    node.prev->next = node.next;
    node.next->prev = node.prev;
    node.prev = node.next = nullptr;
  }
  // All of `newer` before all of this, which leaves it empty.
  void take_in_front(NodeRing& newer) {
    if (newer.empty()) return;
    newer.head_.prev->next = head_.next;
    head_.next->prev = newer.head_.prev;
    head_.next = newer.head_.next;
    head_.next->prev = &head_;
    newer.head_.prev = newer.head_.next = &newer.head_;
  }

 private:
  PolicyNode head_;
};

// Counts what it holds, and the charges of it.
class NodeList {
 public:
  [[nodiscard]] bool empty() const { return nodes_.empty(); }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] PolicyNode* back() { return nodes_.back(); }
  [[nodiscard]] PolicyNode* newer(const PolicyNode& node) { return nodes_.newer(node); }

  void push_front(PolicyNode& node) {
    nodes_.push_front(node);
    count(node);
  }
  void push_back(PolicyNode& node) {
    nodes_.push_back(node);
    count(node);
  }
  void link_behind(PolicyNode& before, PolicyNode& node) {
    NodeRing::link_behind(before, node);
    count(node);
  }
  void unlink(PolicyNode& node) {
    NodeRing::unlink(node);
    bytes_ -= node.charge_bytes;
    --size_;
  }
  void move_to_front(PolicyNode& node) {
    unlink(node);
    push_front(node);
  }
  // The last node, taken out; null when empty.
  [[nodiscard]] PolicyNode* pop_back() {
    PolicyNode* last = back();
    if (last != nullptr) unlink(*last);
    return last;
  }

 private:
  void count(const PolicyNode& node) {
    bytes_ += node.charge_bytes;
    ++size_;
  }

  NodeRing nodes_;
  std::uint64_t bytes_ = 0;
  std::size_t size_ = 0;
};

}   // namespace tensorcache::policy
