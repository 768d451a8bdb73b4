// Splits a prompt's tokens into blocks; each block's key covers all tokens before it.
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
  // `fingerprint`: everything that determines a token's K/V. `tenant`: who may reuse the blocks.
  // REQUIRES: `block_tokens` > 0.
  BlockChain(const Key& fingerprint, std::string_view tenant, std::size_t block_tokens);

  // Adds the keys of newly completed blocks. REQUIRES: `tokens` is the whole sequence and extends
  // the earlier one. COST: about 1 us per block.
  void extend(std::span<const std::int32_t> tokens);

  [[nodiscard]] std::span<const Key> keys() const { return keys_; }
  [[nodiscard]] std::size_t block_tokens() const { return block_tokens_; }
  // RETURNS the key of a partial block: `tokens`, fewer than a block's, right after the first
  // `blocks` full blocks, which must have keys already.
  [[nodiscard]] Key partial_key(std::size_t blocks, std::span<const std::int32_t> tokens) const;
  // RETURNS the parent of the first block.
  [[nodiscard]] const Key& root() const { return root_; }

 private:
  Key root_;
  std::size_t block_tokens_;
  std::vector<Key> keys_;
};

// RETURNS the number of leading blocks that two chains share. COST: O(log n), because a shared
// block implies that all blocks before it are shared.
[[nodiscard]] std::size_t common_blocks(std::span<const Key> a, std::span<const Key> b);

}   // namespace tensorcache::prefix
