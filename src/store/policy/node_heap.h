// A binary heap of nodes by rank, the lowest first; a node knows its place, so it can be moved and
// taken out. O(log n).
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "store/policy/memory_account.h"
#include "store/policy/node_list.h"

namespace tensorcache::policy {

// Uses a node's `place` and `tag`. Of equal ranks the one that was set first goes first. A node
// that there is no memory for goes before all others.
class NodeHeap {
  static auto& is_unranked(auto& node) { return node.tag; }

 public:
  void use_memory(MemoryAccount& account) { slots_.use_memory(account); }   // before anything is pushed
  void shed() noexcept { slots_.shed(); }
  // Of the one that goes first; 0 where there is none.
  [[nodiscard]] double lowest_rank() const { return slots_.empty() ? 0 : slots_[0].rank; }

  void push(PolicyNode& node, double rank) noexcept {
    if (!slots_.grow()) {
      is_unranked(node) = true;
      unranked_.push_front(node);
      return;
    }
    is_unranked(node) = false;
    node.place = slots_.size() - 1;
    slots_[node.place] = {rank, order_++, &node};
    up(node.place);
  }
  void change(PolicyNode& node, double rank) {
    if (is_unranked(node) != 0) return;
    slots_[node.place].rank = rank;
    slots_[node.place].order = order_++;
    sift(node.place);
  }
  void erase(PolicyNode& node) {
    if (is_unranked(node) != 0) {
      unranked_.unlink(node);
      return;
    }
    const std::size_t place = node.place;
    swap(place, slots_.size() - 1);
    slots_.pop_back();
    if (place < slots_.size()) sift(place);
  }
  [[nodiscard]] PolicyNode* pop() {
    if (PolicyNode* node = unranked_.pop_back()) return node;
    if (slots_.empty()) return nullptr;
    PolicyNode* node = slots_[0].node;
    erase(*node);
    return node;
  }

 private:
  struct Slot {
    double rank = 0;
    std::uint64_t order = 0;
    PolicyNode* node = nullptr;
  };
  [[nodiscard]] bool before(std::size_t a, std::size_t b) const {
    return std::pair(slots_[a].rank, slots_[a].order) < std::pair(slots_[b].rank, slots_[b].order);
  }
  void swap(std::size_t a, std::size_t b) {
    std::swap(slots_[a], slots_[b]);
    slots_[a].node->place = a;
    slots_[b].node->place = b;
  }
  void sift(std::size_t i) { down(up(i)); }
  std::size_t up(std::size_t i) {
    for (; i > 0 && before(i, (i - 1) / 2); i = (i - 1) / 2) swap(i, (i - 1) / 2);
    return i;
  }
  void down(std::size_t i) {
    for (;;) {
      std::size_t least = i;
      for (const std::size_t child : {2 * i + 1, 2 * i + 2}) {
        if (child < slots_.size() && before(child, least)) least = child;
      }
      if (least == i) return;
      swap(i, least);
      i = least;
    }
  }

  ChunkedArray<Slot, 128> slots_;
  NodeList unranked_;
  std::uint64_t order_ = 0;
};

}   // namespace tensorcache::policy
