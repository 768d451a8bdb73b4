// What the cache's tests share.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "testing/core/fake_clock.h"
#include "testing/core/values.h"
#include "tensorcache/cache.h"
#include "store/memory/layout.h"
#include "testing/store/memory.h"

namespace tensorcache::testing {

using std::chrono::milliseconds;

inline std::string_view text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// What one value of this size may take of a budget, with what malloc may give unasked.
inline constexpr std::uint64_t kMallocSlackBytes = 32;
inline std::uint64_t charge_of(std::size_t value_bytes) { return memory::Layout(value_bytes).charge() + kMallocSlackBytes; }

// The keys of a chain and a cache that holds its blocks, put in the order of the chain.
inline std::vector<Key> keys_of_chain(std::uint64_t chain, std::size_t blocks) {
  std::vector<Key> keys;
  for (std::size_t i = 0; i < blocks; ++i) keys.push_back(key_of(chain * 1'000'000 + i));
  return keys;
}
inline PutOptions block_options(const std::vector<Key>& keys, std::size_t i, std::uint64_t owner = 0) {
  PutOptions options{.kind = Kind::kPrefixBlock, .owner = owner};
  if (i > 0) options.parent = keys[i - 1];
  return options;
}
inline void put_chain(Cache& cache, const std::vector<Key>& keys, std::size_t block_bytes, std::uint64_t owner = 0) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ(cache.put(keys[i], value_of(i, block_bytes), block_options(keys, i, owner)), PutStatus::kStored) << i;
  }
}

}   // namespace tensorcache::testing
