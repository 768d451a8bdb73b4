// Who holds how much of the context.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace tensorcache::llama {

// Counts the tokens whose memory each slot has touched, and has memory given back so that the sum stays within the context's size.
class ContextRoom {
 public:
  // Gives the memory of a slot's cells from this one on back. RETURNS false if cells there are in use.
  using GiveBack = std::function<bool(std::size_t slot, std::size_t first_cell)>;

  // Each slot's equal part counts as touched: it is made ready at start.
  ContextRoom(std::size_t total_tokens, std::size_t slots, GiveBack give_back)
      : total_tokens_(total_tokens), touched_(slots, total_tokens / slots), give_back_(std::move(give_back)) {}

  [[nodiscard]] std::size_t total_tokens() const { return total_tokens_; }
  [[nodiscard]] std::size_t touched_tokens() const;

  // The slot is about to have this many cells. `in_use`: cells of each slot.
  void touch(std::size_t slot, std::size_t tokens, std::span<const std::size_t> in_use);

 private:
  std::size_t total_tokens_;
  std::vector<std::size_t> touched_;   // by slot: cells from the first on that have memory
  GiveBack give_back_;
};

}   // namespace tensorcache::llama
