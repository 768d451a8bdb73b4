// A doubly linked list through PolicyNode's own links: every operation is O(1) and allocates nothing.
#pragma once

#include "policy/policy.h"

namespace tensorcache {

// Newest first. Counts the charges of what it holds.
class NodeList {
 public:
  NodeList() { head_.prev = head_.next = &head_; }
  NodeList(const NodeList&) = delete;
  NodeList& operator=(const NodeList&) = delete;

  [[nodiscard]] bool empty() const { return head_.next == &head_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] PolicyNode* back() { return empty() ? nullptr : head_.prev; }
  // The one in front of it; null at the front.
  [[nodiscard]] PolicyNode* newer(const PolicyNode& node) { return node.prev == &head_ ? nullptr : node.prev; }

  void push_front(PolicyNode& node) { link_behind(head_, node); }
  void push_back(PolicyNode& node) { link_behind(*head_.prev, node); }
  void link_behind(PolicyNode& before, PolicyNode& node) {
    node.prev = &before;
    node.next = before.next;
    before.next->prev = &node;
    before.next = &node;
    bytes_ += node.charge_bytes;
    ++size_;
  }
  void unlink(PolicyNode& node) {
    node.prev->next = node.next;
    node.next->prev = node.prev;
    node.prev = node.next = nullptr;
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
  PolicyNode head_;
  std::uint64_t bytes_ = 0;
  std::size_t size_ = 0;
};

}   // namespace tensorcache
