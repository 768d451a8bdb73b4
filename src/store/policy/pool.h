// A pool of objects with stable addresses; released objects are reused.
#pragma once

#include <cstddef>

#include "store/policy/memory_account.h"

namespace tensorcache::policy {

// No throw.
template <class T>
class Pool {
 public:
  void use_memory(MemoryAccount& account) { cells_.use_memory(account); }   // before anything is taken
  // Null: no memory.
  [[nodiscard]] T* take() noexcept {
    Cell* cell = free_;
    if (cell != nullptr) {
      free_ = cell->next_free;
    } else {
      if (!cells_.grow()) return nullptr;
      cell = &cells_[cells_.size() - 1];
    }
    *cell = Cell();
    ++taken_;
    return cell;
  }
  void give_back(T* object) noexcept {
    Cell* const cell = static_cast<Cell*>(object);
    *cell = Cell();
    cell->next_free = free_;
    free_ = cell;
    --taken_;
  }
  // Gives its memory back if nothing is taken.
  void shed() noexcept {
    if (taken_ != 0) return;
    free_ = nullptr;
    cells_.clear();
  }
  // All that were ever taken, numbered up to size(); those that were given back are as new.
  [[nodiscard]] std::size_t size() const { return cells_.size(); }
  [[nodiscard]] T& operator[](std::size_t i) { return cells_[i]; }

 private:
  struct Cell : T {
    Cell* next_free = nullptr;
  };
  static constexpr std::size_t kChunk = 64;

  ChunkedArray<Cell, kChunk> cells_;
  Cell* free_ = nullptr;
  std::size_t taken_ = 0;
};

}   // namespace tensorcache::policy
