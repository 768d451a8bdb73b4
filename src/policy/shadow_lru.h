// What an LRU cache of the same size would hold: hashes only.
#pragma once

#include <cstdint>
#include <list>
#include <new>
#include <unordered_map>

namespace tensorcache {

class ShadowLru {
 public:
  void resize(std::uint64_t capacity_bytes) {
    capacity_ = capacity_bytes;
    shrink();
  }
  [[nodiscard]] bool contains(std::uint64_t hash) const { return places_.contains(hash); }
  void use(std::uint64_t hash, std::uint64_t bytes) noexcept {
    const auto found = places_.find(hash);
    if (found != places_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return;
    }
    try {
      order_.push_front({hash, bytes});
    } catch (const std::bad_alloc&) {
      return;
    }
    try {
      places_.emplace(hash, order_.begin());
    } catch (const std::bad_alloc&) {
      order_.pop_front();
      return;
    }
    used_ += bytes;
    shrink();
  }

 private:
  struct Item {
    std::uint64_t hash, bytes;
  };
  void shrink() noexcept {
    while (used_ > capacity_ && !order_.empty()) {
      used_ -= order_.back().bytes;
      places_.erase(order_.back().hash);
      order_.pop_back();
    }
  }

  std::list<Item> order_;   // newest first
  std::unordered_map<std::uint64_t, std::list<Item>::iterator> places_;
  std::uint64_t used_ = 0, capacity_ = 0;
};

}   // namespace tensorcache
