// Ghost entries: hashes and charges of evicted nodes, oldest dropped first.
#pragma once

#include <array>
#include <cstdint>

#include "store/policy/flat_map.h"
#include "store/policy/policy.h"
#include "store/policy/pool.h"

namespace tensorcache::policy {

// About 70 bytes for each. Where there is no memory for one more, it is not remembered.
class Ghosts {
 public:
  void use_memory(MemoryAccount& account) {   // before anything is remembered
    pool_.use_memory(account);
    for (Map& map : maps_) map.use_memory(account);
  }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] bool contains(std::uint64_t hash) const { return maps_[map_of(hash)].find(hash) != nullptr; }
  [[nodiscard]] std::size_t size() const { return size_; }

  void remember(const PolicyNode& node) noexcept {
    forget(node.hash);
    Ghost* const ghost = pool_.take();
    if (ghost == nullptr) return;
    ghost->hash = node.hash;
    ghost->charge_bytes = node.charge_bytes;
    if (!map(node.hash).insert(node.hash, ghost)) {
      pool_.give_back(ghost);
      return;
    }
    ghost->older = newest_;
    (newest_ != nullptr ? newest_->newer : oldest_) = ghost;
    newest_ = ghost;
    bytes_ += node.charge_bytes;
    ++size_;
  }
  // False if it was not remembered.
  bool forget(std::uint64_t hash) noexcept {
    Ghost* const ghost = map(hash).find(hash);
    if (ghost == nullptr) return false;
    drop(*ghost);
    return true;
  }
  void forget_oldest() noexcept {
    if (oldest_ != nullptr) drop(*oldest_);
  }
  void keep_at_most(std::uint64_t bytes) noexcept {
    while (bytes_ > bytes) forget_oldest();
  }
  // Forgets all and gives the memory back.
  void shed() noexcept {
    while (!empty()) forget_oldest();
    pool_.shed();
    for (Map& map : maps_) map.shed();
  }

 private:
  struct Ghost {
    std::uint64_t hash = 0, charge_bytes = 0;
    Ghost *newer = nullptr, *older = nullptr;
  };
  using Map = FlatMap<Ghost>;
  // Each grows by itself: one rehash moves a 64th of them.
  static constexpr std::size_t kMaps = 64;
  [[nodiscard]] static std::size_t map_of(std::uint64_t hash) { return hash * 0xD6E8FEB86659FD93u >> 58; }
  [[nodiscard]] Map& map(std::uint64_t hash) { return maps_[map_of(hash)]; }
  void drop(Ghost& ghost) noexcept {
    map(ghost.hash).erase(ghost.hash);
    (ghost.newer != nullptr ? ghost.newer->older : newest_) = ghost.older;
    (ghost.older != nullptr ? ghost.older->newer : oldest_) = ghost.newer;
    bytes_ -= ghost.charge_bytes;
    --size_;
    pool_.give_back(&ghost);
  }

  Pool<Ghost> pool_;
  std::array<Map, kMaps> maps_;
  Ghost *newest_ = nullptr, *oldest_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::size_t size_ = 0;
};

}   // namespace tensorcache::policy
