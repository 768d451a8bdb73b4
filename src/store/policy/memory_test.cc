// Policies whose owner has no memory for them now and then, or never.
#include "store/policy/memory_account.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "store/policy/policy.h"

namespace tensorcache::policy {
namespace {

class Refusing final : public MemoryAccount {
 public:
  explicit Refusing(std::uint32_t percent) : percent_(percent) {}
  [[nodiscard]] bool try_take(std::uint64_t bytes) noexcept override {
    if (random_() % 100 < percent_) return false;
    taken_bytes_ += bytes;
    return true;
  }
  void give_back(std::uint64_t bytes) noexcept override { taken_bytes_ -= bytes; }
  [[nodiscard]] std::uint64_t taken_bytes() const { return taken_bytes_; }

 private:
  const std::uint32_t percent_;
  std::mt19937 random_{5};
  std::uint64_t taken_bytes_ = 0;
};

// 64 values in 16 chains of four, each with the one before as its parent.
class Owner {
 public:
  Owner(std::string_view policy, MemoryAccount& account) : policy_(make_policy(policy)) {
    policy_->use_memory(account);
    policy_->resize(40);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      nodes_[i].hash = 1000 + i;
      nodes_[i].charge_bytes = 1;
      if (i % 4 != 0) nodes_[i].parent = &nodes_[i - 1];
    }
  }

  void one_request(std::mt19937& random) {
    const std::size_t first = random() % 16 * 4;
    std::vector<std::size_t> there, missing;
    for (std::size_t i = first; i < first + 4; ++i) (held_.contains(i) && missing.empty() ? there : missing).push_back(i);
    policy_->begin({.values = 4, .hits = there.size()});
    for (std::size_t i = there.size(); i-- > 0;) policy_->touch(nodes_[there[i]]);
    for (const std::size_t i : missing) {
      if (held_.contains(i)) {
        policy_->touch(nodes_[i]);
        continue;
      }
      while (held_.size() >= 40 && !HasFailure()) pop(random() % 4 == 0);
      policy_->on_reserve(nodes_[i]);
      policy_->insert(nodes_[i]);
      held_.insert(i);
    }
    if (random() % 32 == 0) policy_->shed();
    if (random() % 16 == 0) policy_->demote(nodes_[*held_.begin()]);
    if (random() % 16 == 0) {
      policy_->erase(nodes_[*held_.rbegin()]);
      held_.erase(*held_.rbegin());
    }
  }
  void pop_all() {
    while (!held_.empty() && !HasFailure()) pop(false);
    EXPECT_EQ(policy_->pop(), nullptr);
    policy_->shed();
  }

 private:
  [[nodiscard]] static bool HasFailure() { return ::testing::Test::HasFailure(); }
  void pop(bool puts_back) {
    PolicyNode* const node = policy_->pop();
    ASSERT_NE(node, nullptr);
    const auto number = static_cast<std::size_t>(node - nodes_.data());
    ASSERT_TRUE(held_.contains(number)) << number;
    if (puts_back) {
      policy_->restore(*node);
    } else {
      held_.erase(number);
    }
  }

  std::unique_ptr<Policy> policy_;
  std::vector<PolicyNode> nodes_ = std::vector<PolicyNode>(64);
  std::set<std::size_t> held_;
};

class Memory : public ::testing::TestWithParam<std::uint32_t> {};

// Never a value twice, none lost, no call that does not end.
TEST_P(Memory, EveryPolicyKeepsAccountWithoutIt) {
  for (const PolicyInfo& info : policies()) {
    SCOPED_TRACE(info.name);
    Refusing account(GetParam());
    {
      Owner owner(info.name, account);
      std::mt19937 random(3);
      for (int i = 0; i < 5000 && !HasFailure(); ++i) owner.one_request(random);
      owner.pop_all();
    }
    EXPECT_EQ(account.taken_bytes(), 0u);
  }
}

// What grows with the cache is asked for; what is not is less than a megabyte, whatever the cache.
TEST(PolicyMemory, IsAllFromTheAccount) {
  for (const PolicyInfo& info : policies()) {
    SCOPED_TRACE(info.name);
    Refusing account(0);
    const std::size_t before = ::mallinfo2().uordblks;
    std::vector<PolicyNode> nodes(60'000);
    const std::size_t own_bytes = ::mallinfo2().uordblks - before;
    const std::unique_ptr<Policy> policy = make_policy(info.name);
    policy->use_memory(account);
    policy->resize(4000 * 100);
    std::size_t held = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      nodes[i].hash = i * 0x9E3779B97F4A7C15u;
      nodes[i].charge_bytes = 100;
      nodes[i].kind = i % 2 == 0 ? Kind::kPrefixBlock : Kind::kTensor;
      policy->on_reserve(nodes[i]);
      if (held == 4000) {
        ASSERT_NE(policy->pop(), nullptr);
      } else {
        ++held;
      }
      policy->begin({.values = 1});
      policy->insert(nodes[i]);
    }
    const std::uint64_t outside = ::mallinfo2().uordblks - before - own_bytes - std::min<std::uint64_t>(account.taken_bytes(), SIZE_MAX);
    EXPECT_LT(static_cast<std::int64_t>(outside), 2 << 20) << account.taken_bytes() << " are from the account";
    const std::uint64_t at_most = account.taken_bytes();
    while (policy->pop() != nullptr) {
    }
    policy->shed();
    EXPECT_LE(account.taken_bytes(), std::min<std::uint64_t>(at_most, 16 << 10));
  }
}

INSTANTIATE_TEST_SUITE_P(PercentRefused, Memory, ::testing::Values(0u, 50u, 99u, 100u));

}   // namespace
}   // namespace tensorcache::policy
