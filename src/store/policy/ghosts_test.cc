#include "store/policy/ghosts.h"

#include <gtest/gtest.h>

namespace tensorcache::policy {
namespace {

// Refuses everything beyond its limit.
struct Limited final : MemoryAccount {
  [[nodiscard]] bool try_take(std::uint64_t bytes) noexcept override {
    if (taken + bytes > limit) return false;
    taken += bytes;
    return true;
  }
  void give_back(std::uint64_t bytes) noexcept override { taken -= bytes; }
  std::uint64_t taken = 0, limit = ~std::uint64_t{0};
};

PolicyNode node_of(std::uint64_t hash, std::uint64_t bytes) {
  PolicyNode node;
  node.hash = hash;
  node.charge_bytes = bytes;
  return node;
}

TEST(Ghosts, RemembersUntilForgotten) {
  Ghosts ghosts;
  ghosts.remember(node_of(1, 100));
  ghosts.remember(node_of(2, 50));
  EXPECT_TRUE(ghosts.contains(1));
  EXPECT_EQ(ghosts.bytes(), 150u);
  EXPECT_TRUE(ghosts.forget(1));
  EXPECT_FALSE(ghosts.forget(1));
  EXPECT_FALSE(ghosts.contains(1));
  EXPECT_EQ(ghosts.bytes(), 50u);
  EXPECT_EQ(ghosts.size(), 1u);
}

TEST(Ghosts, DropsTheOldestFirst) {
  Ghosts ghosts;
  for (std::uint64_t hash = 0; hash < 10; ++hash) ghosts.remember(node_of(hash, 10));
  ghosts.remember(node_of(0, 10));   // the newest now
  ghosts.keep_at_most(35);
  EXPECT_EQ(ghosts.bytes(), 30u);
  for (const std::uint64_t hash : {0u, 8u, 9u}) EXPECT_TRUE(ghosts.contains(hash)) << hash;
  ghosts.forget_oldest();
  EXPECT_FALSE(ghosts.contains(8));
}

TEST(Ghosts, RememberedAgainCountsItsNewCharge) {
  Ghosts ghosts;
  ghosts.remember(node_of(1, 100));
  ghosts.remember(node_of(1, 30));
  EXPECT_EQ(ghosts.size(), 1u);
  EXPECT_EQ(ghosts.bytes(), 30u);
}

TEST(Ghosts, ShedGivesAllMemoryBack) {
  Limited account;
  Ghosts ghosts;
  ghosts.use_memory(account);
  for (std::uint64_t hash = 0; hash < 5000; ++hash) ghosts.remember(node_of(hash * 0x9E3779B97F4A7C15u, 10));
  EXPECT_EQ(ghosts.size(), 5000u);
  EXPECT_GT(account.taken, 5000u * sizeof(std::uint64_t));
  ghosts.shed();
  EXPECT_TRUE(ghosts.empty());
  EXPECT_EQ(ghosts.bytes(), 0u);
  EXPECT_EQ(account.taken, 0u);
}

TEST(Ghosts, WithoutMemoryTheyKeepWhatTheyHave) {
  Limited account;
  account.limit = 64 << 10;
  Ghosts ghosts;
  ghosts.use_memory(account);
  for (std::uint64_t hash = 1; hash <= 100'000; ++hash) ghosts.remember(node_of(hash, 1));
  EXPECT_LE(account.taken, account.limit);
  EXPECT_GT(ghosts.size(), 100u);
  EXPECT_LT(ghosts.size(), 5000u);
  EXPECT_EQ(ghosts.bytes(), ghosts.size());
  EXPECT_TRUE(ghosts.contains(1));
}

}   // namespace
}   // namespace tensorcache::policy
