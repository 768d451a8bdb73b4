// Splits a prompt's tokens into blocks; each block's key covers everything before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tensorcache/key.h"

namespace tensorcache::prefix {

// The keys of a token sequence's full blocks, in order. keys()[i] determines the model, the tenant
// and all tokens up to the end of block i, so equal keys mean equal prefixes. Tokens after the last
// full block have no key yet. Not thread safe.
class BlockChain {
 public:
  // `fingerprint`: everything that decides what a token's K/V is. `tenant`: who may reuse it.
  // `block_tokens` > 0.
  BlockChain(const Key& fingerprint, std::string_view tenant, std::size_t block_tokens);

  // Keys the blocks that have become full; `tokens` is the whole sequence and must begin as it did
  // before. ~1 us a block.
  void extend(std::span<const std::int32_t> tokens);

  [[nodiscard]] std::span<const Key> keys() const { return keys_; }
  [[nodiscard]] std::size_t block_tokens() const { return block_tokens_; }
  // The key of a partial block: `tokens`, fewer than a block's, right after the first `blocks` full
  // ones, which are keyed already.
  [[nodiscard]] Key partial_key(std::size_t blocks, std::span<const std::int32_t> tokens) const;
  // What the first block is chained to.
  [[nodiscard]] const Key& root() const { return root_; }

 private:
  Key root_;
  std::size_t block_tokens_;
  std::vector<Key> keys_;
};

// How many leading blocks two chains share: O(log n), because a shared block means that all before
// it are shared.
[[nodiscard]] std::size_t common_blocks(std::span<const Key> a, std::span<const Key> b);

}   // namespace tensorcache::prefix
