#include "store/prefix/block_chain.h"

#include <algorithm>
#include <cassert>

namespace tensorcache::prefix {

BlockChain::BlockChain(const Key& fingerprint, std::string_view tenant, std::size_t block_tokens)
    : root_(KeyBuilder("prefix/1")
                .field("fingerprint", fingerprint)
                .field("tenant", tenant)
                .field("block_tokens", static_cast<std::uint64_t>(block_tokens))
                .build()),
      block_tokens_(block_tokens) {
  assert(block_tokens > 0);
}

void BlockChain::extend(std::span<const std::int32_t> tokens) {
  const std::size_t full = tokens.size() / block_tokens_;
  keys_.reserve(full);
  while (keys_.size() < full) {
    const auto block = tokens.subspan(keys_.size() * block_tokens_, block_tokens_);
    const Key& parent = keys_.empty() ? root_ : keys_.back();
    keys_.push_back(KeyBuilder("block/1").field("parent", parent).field("tokens", block).build());
  }
}

Key BlockChain::partial_key(std::size_t blocks, std::span<const std::int32_t> tokens) const {
  assert(blocks <= keys_.size() && !tokens.empty() && tokens.size() < block_tokens_);
  return KeyBuilder("partial-block/1").field("parent", blocks == 0 ? root_ : keys_[blocks - 1]).field("tokens", tokens).build();
}

std::size_t common_blocks(std::span<const Key> a, std::span<const Key> b) {
  std::size_t same = 0, end = std::min(a.size(), b.size());
  while (same < end) {
    const std::size_t middle = same + (end - same) / 2;
    if (a[middle] == b[middle]) {
      same = middle + 1;
    } else {
      end = middle;
    }
  }
  return same;
}

}   // namespace tensorcache::prefix
