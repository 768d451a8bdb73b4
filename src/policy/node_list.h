// A doubly linked list through PolicyNode's own links: every operation is O(1) and allocates nothing.
#pragma once

#include "policy/policy.h"

namespace tensorcache {

class NodeList {
 public:
  NodeList() { head_.prev = head_.next = &head_; }
  NodeList(const NodeList&) = delete;
  NodeList& operator=(const NodeList&) = delete;

  [[nodiscard]] bool empty() const { return head_.next == &head_; }
  void push_front(PolicyNode& node) { link(head_, node); }
  void push_back(PolicyNode& node) { link(*head_.prev, node); }
  static void unlink(PolicyNode& node) {
    node.prev->next = node.next;
    node.next->prev = node.prev;
    node.prev = node.next = nullptr;
  }
  // The last node, taken out; null when empty.
  [[nodiscard]] PolicyNode* pop_back() {
    if (empty()) return nullptr;
    PolicyNode* last = head_.prev;
    unlink(*last);
    return last;
  }

 private:
  static void link(PolicyNode& before, PolicyNode& node) {
    node.prev = &before;
    node.next = before.next;
    before.next->prev = &node;
    before.next = &node;
  }

  PolicyNode head_;
};

}   // namespace tensorcache
