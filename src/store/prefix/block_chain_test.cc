#include "store/prefix/block_chain.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace tensorcache::prefix {
namespace {

std::vector<std::int32_t> tokens_from(int first, int count) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

BlockChain chain_of(std::span<const std::int32_t> tokens, std::string_view tenant = "t", std::size_t block = 4,
                    const Key& fingerprint = Key::of("model")) {
  BlockChain chain(fingerprint, tenant, block);
  chain.extend(tokens);
  return chain;
}

TEST(BlockChain, KeysOnlyFullBlocks) {
  EXPECT_EQ(chain_of(tokens_from(0, 3)).keys().size(), 0u);
  EXPECT_EQ(chain_of(tokens_from(0, 4)).keys().size(), 1u);
  EXPECT_EQ(chain_of(tokens_from(0, 11)).keys().size(), 2u);
}

TEST(BlockChain, GrowingGivesTheSameKeysAsAtOnce) {
  const auto tokens = tokens_from(0, 37);
  BlockChain grown(Key::of("model"), "t", 4);
  for (std::size_t n = 0; n <= tokens.size(); ++n) grown.extend(std::span(tokens).first(n));
  const auto whole = chain_of(tokens);
  EXPECT_TRUE(std::ranges::equal(grown.keys(), whole.keys()));
}

TEST(BlockChain, ABlockDependsOnEverythingBeforeIt) {
  auto tokens = tokens_from(0, 16);
  const auto before = chain_of(tokens);
  tokens[0] = 99;
  const auto after = chain_of(tokens);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NE(before.keys()[i], after.keys()[i]) << i;
}

TEST(BlockChain, APartialBlockIsKeyedByItsTokensAndAllBefore) {
  auto tokens = tokens_from(0, 11);
  const auto chain = chain_of(tokens);
  const auto rest = std::span(tokens).subspan(8);
  const std::set<Key> keys{chain.partial_key(2, rest),
                           chain.partial_key(2, rest.first(2)),
                           chain.partial_key(1, rest),
                           chain.partial_key(0, rest),
                           chain_of(tokens, "u").partial_key(2, rest),
                           chain.keys()[0],
                           chain.keys()[1]};
  EXPECT_EQ(keys.size(), 7u);
  const auto longer = tokens_from(0, 50);
  EXPECT_EQ(chain_of(longer).partial_key(2, rest), chain.partial_key(2, rest)) << "what comes later does not matter";
}

TEST(BlockChain, ModelTenantAndBlockSizeSeparate) {
  const auto tokens = tokens_from(0, 8);
  const std::set<Key> keys{chain_of(tokens).keys()[0], chain_of(tokens, "u").keys()[0], chain_of(tokens, "t", 8).keys()[0],
                           chain_of(tokens, "t", 4, Key::of("other")).keys()[0]};
  EXPECT_EQ(keys.size(), 4u);
}

TEST(BlockChain, CommonBlocksFindsTheFork) {
  const auto tokens = tokens_from(0, 400);
  const auto whole = chain_of(tokens);
  for (int fork = 0; fork < 400; fork += 7) {
    auto other = tokens;
    other[static_cast<std::size_t>(fork)] = -1;
    EXPECT_EQ(common_blocks(whole.keys(), chain_of(other).keys()), static_cast<std::size_t>(fork / 4));
  }
  EXPECT_EQ(common_blocks(whole.keys(), chain_of(tokens_from(0, 41)).keys()), 10u);
  EXPECT_EQ(common_blocks(whole.keys(), {}), 0u);
}

}   // namespace
}   // namespace tensorcache::prefix
