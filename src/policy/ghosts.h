// What a policy remembers of nodes it gave up: hashes and charges, oldest forgotten first.
#pragma once

#include <cstdint>
#include <deque>
#include <new>
#include <unordered_map>

#include "policy/policy.h"

namespace tensorcache {

class Ghosts {
 public:
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] bool empty() const { return places_.empty(); }
  [[nodiscard]] bool contains(std::uint64_t hash) const { return places_.contains(hash); }
  [[nodiscard]] std::size_t size() const { return places_.size(); }

  void remember(const PolicyNode& node) noexcept {
    forget(node.hash);
    try {
      places_.emplace(node.hash, next_);
    } catch (const std::bad_alloc&) {
      return;
    }
    try {
      order_.push_back({node.hash, next_, node.charge_bytes});
    } catch (const std::bad_alloc&) {
      places_.erase(node.hash);
      return;
    }
    ++next_;
    bytes_ += node.charge_bytes;
  }
  // False if it was not remembered.
  bool forget(std::uint64_t hash) noexcept {
    const auto found = places_.find(hash);
    if (found == places_.end()) return false;
    bytes_ -= order_[found->second - (next_ - order_.size())].charge_bytes;
    places_.erase(found);
    drop_front();
    return true;
  }
  void forget_oldest() noexcept {
    drop_front();
    if (!order_.empty()) forget(order_.front().hash);
  }
  void keep_at_most(std::uint64_t bytes) noexcept {
    while (bytes_ > bytes) forget_oldest();
  }

 private:
  struct Ghost {
    std::uint64_t hash, place, charge_bytes;
  };
  // Those that were forgotten out of turn.
  void drop_front() noexcept {
    while (!order_.empty()) {
      const auto found = places_.find(order_.front().hash);
      if (found != places_.end() && found->second == order_.front().place) return;
      order_.pop_front();
    }
  }

  std::deque<Ghost> order_;                                   // their places are consecutive, up to next_
  std::unordered_map<std::uint64_t, std::uint64_t> places_;   // by hash
  std::uint64_t next_ = 0, bytes_ = 0;
};

}   // namespace tensorcache
