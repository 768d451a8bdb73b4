// `guarded` and `auto`, which choose among other orders, and the shadows by which they do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "store/policy/policy.h"
#include "store/policy/shadow_sample.h"

namespace tensorcache::policy {
namespace {

struct Value {
  std::uint64_t key = 0, bytes = 1;
  float cost_seconds = 1;
  Kind kind = Kind::kAnswer;
};
using Load = std::function<Value()>;

// A cache without values, that counts the seconds it saves.
class Store {
 public:
  Store(std::string_view policy, std::uint64_t capacity) : policy_(make_policy(policy)), capacity_(capacity) { policy_->resize(capacity); }
  bool use(const Value& value) {
    asked_ += value.cost_seconds;
    const auto [at, is_new] = nodes_.try_emplace(value.key);
    PolicyNode& node = at->second;
    if (!is_new) {
      saved_ += value.cost_seconds;
      policy_->touch(node);
      return true;
    }
    node.hash = value.key * 0x9E3779B97F4A7C15u;
    node.charge_bytes = value.bytes;
    node.cost_seconds = value.cost_seconds;
    node.kind = value.kind;
    keys_[node.hash] = value.key;
    policy_->on_reserve(node);
    while (used_ + value.bytes > capacity_) {
      PolicyNode* gone = policy_->pop();
      used_ -= gone->charge_bytes;
      nodes_.erase(keys_.at(gone->hash));
    }
    used_ += value.bytes;
    policy_->insert(node);
    return false;
  }
  // The share of the seconds asked for that was saved, from here on.
  double saved(const Load& load, int uses) {
    asked_ = saved_ = 0;
    for (int i = 0; i < uses; ++i) use(load());
    return saved_ / asked_;
  }
  [[nodiscard]] std::uint64_t bytes(Kind kind) const {
    std::uint64_t sum = 0;
    for (const auto& [key, node] : nodes_) sum += node.kind == kind ? node.charge_bytes : 0;
    return sum;
  }

 private:
  std::unique_ptr<Policy> policy_;
  std::map<std::uint64_t, PolicyNode> nodes_;
  std::map<std::uint64_t, std::uint64_t> keys_;   // by hash
  std::uint64_t capacity_, used_ = 0;
  double asked_ = 0, saved_ = 0;
};

// A power law, with scans: s3fifo's.
Load scans() {
  return [random = std::mt19937_64(1), i = std::uint64_t{0}]() mutable {
    ++i;
    if (i / 500 % 5 == 0) return Value{.key = 1'000'000 + i};
    return Value{.key = static_cast<std::uint64_t>(std::pow(10'000, std::uniform_real_distribution(0.0, 1.0)(random)))};
  };
}

// Each key once more, some hundred others later, and then never: lru's.
Load soon_again() {
  return [random = std::mt19937(2), due = std::multimap<std::uint64_t, std::uint64_t>(), i = std::uint64_t{0}]() mutable {
    ++i;
    const bool again = !due.empty() && due.begin()->first <= i;
    const std::uint64_t key = again ? due.begin()->second : 2'000'000 + i;
    if (again) {
      due.erase(due.begin());
    } else {
      due.emplace(i + 200 + random() % 1'000, key);
    }
    return Value{.key = key};
  };
}

// Dear small values and cheap large ones: gdsf's.
Load sizes() {
  return [random = std::mt19937_64(3)]() mutable {
    const auto key = static_cast<std::uint64_t>(std::pow(10'000, std::uniform_real_distribution(0.0, 1.0)(random)));
    const bool dear = key * 0x9E3779B97F4A7C15u >> 63 != 0;
    return Value{.key = 3'000'000 + key, .bytes = dear ? 1u : 20u, .cost_seconds = dear ? 5.0F : 1.0F};
  };
}

TEST(Guarded, IsCloseToTheBestOnLoadsThatFavourEach) {
  const std::map<std::string, std::function<Load()>> favourites{{"gdsf", sizes}, {"lru", soon_again}, {"s3fifo", scans}};
  for (const auto& [favourite, load] : favourites) {
    SCOPED_TRACE(favourite);
    std::map<std::string, double> saved;
    for (const std::string policy : {"guarded", "gdsf", "s3fifo", "lru"}) saved[policy] = Store(policy, 1000).saved(load(), 100'000);
    for (const std::string other : {"gdsf", "s3fifo", "lru"}) {
      if (other == favourite) continue;
      EXPECT_GT(saved[favourite], saved[other] + 0.02) << "the load does not favour it over " << other;
    }
    EXPECT_GT(saved["guarded"], saved[favourite] - 0.02);
    EXPECT_GT(saved["guarded"], saved["lru"] - 0.005);
  }
}

TEST(Guarded, FollowsTheLoadWhenItChangesAndChangesAgain) {
  Store guarded("guarded", 1000), lru("lru", 1000), s3fifo("s3fifo", 1000), gdsf("gdsf", 1000);
  for (int round = 0; round < 2; ++round) {
    for (const auto& [name, load] : std::map<std::string, std::function<Load()>>{{"gdsf", sizes}, {"lru", soon_again}, {"s3fifo", scans}}) {
      double best = 0, own = 0;
      for (Store* store : {&guarded, &lru, &s3fifo, &gdsf}) {
        const Load same = load();
        store->saved(same, 30'000);   // to get over what was before
        const double saved = store->saved(same, 10'000);
        (store == &guarded ? own : best) = store == &guarded ? saved : std::max(best, saved);
      }
      EXPECT_GT(own, best - 0.03) << name << ", round " << round;
    }
  }
}

// Values that are pinned, put back or removed while all of them move from one order to another:
// none is lost, none comes twice.
TEST(Guarded, KeepsAccountWhileItChanges) {
  const auto policy = make_policy("guarded");
  policy->resize(1000);
  std::map<std::uint64_t, PolicyNode> nodes;
  std::map<std::uint64_t, std::uint64_t> keys;
  std::set<std::uint64_t> held, aside;
  std::mt19937 random(5);
  std::vector<Load> loads{scans(), soon_again(), sizes()};
  for (int i = 0; i < 300'000; ++i) {
    const Value value = loads[static_cast<std::size_t>(i / 15'000) % 3]();
    PolicyNode& node = nodes[value.key];
    if (held.contains(value.key)) {
      policy->touch(node);
    } else if (!aside.contains(value.key)) {
      node.hash = value.key * 0x9E3779B97F4A7C15u;
      keys[node.hash] = value.key;
      node.charge_bytes = 1;
      node.cost_seconds = value.cost_seconds / static_cast<float>(value.bytes);
      policy->insert(node);
      held.insert(value.key);
    }
    while (held.size() > 1000) {
      const PolicyNode* gone = policy->pop();
      ASSERT_NE(gone, nullptr);
      ASSERT_EQ(held.erase(keys.at(gone->hash)), 1u);
      if (random() % 4 == 0) aside.insert(keys.at(gone->hash));
    }
    if (random() % 16 == 0 && held.contains(value.key)) {
      policy->erase(node);
      held.erase(value.key);
    }
    if (aside.size() > 50) {
      policy->restore(nodes[*aside.begin()]);
      held.insert(*aside.begin());
      aside.erase(aside.begin());
    }
  }
  while (const PolicyNode* gone = policy->pop()) ASSERT_EQ(held.erase(keys.at(gone->hash)), 1u);
  EXPECT_TRUE(held.empty());
}

TEST(ShadowSample, IsBoundedAndTellsWhatTheWholeWouldHaveFound) {
  std::vector<std::unique_ptr<Policy>> policies;
  policies.push_back(make_policy("lru"));
  ShadowSample sample(std::move(policies));
  Store whole("lru", 40'000);
  sample.resize(40'000);
  std::mt19937_64 random(9);
  std::uint64_t asked = 0, found = 0, whole_found = 0;
  constexpr int kUses = 400'000;
  for (int i = 0; i < kUses; ++i) {
    const Value value{.key = static_cast<std::uint64_t>(std::pow(1e6, std::uniform_real_distribution(0.6, 1.0)(random)))};
    PolicyNode node;
    node.hash = value.key * 0x9E3779B97F4A7C15u;
    node.charge_bytes = 1;
    if (sample.use(node)) {
      ++asked;
      found += sample.found(0) ? 1 : 0;
    }
    whole_found += whole.use(value) ? 1 : 0;
    ASSERT_LE(sample.size(0), ShadowSample::kMaxNodes);
  }
  EXPECT_LT(asked, kUses / 2) << "not all keys are watched";
  EXPECT_NEAR(static_cast<double>(found) / static_cast<double>(asked), static_cast<double>(whole_found) / kUses, 0.05);
  sample.resize(1'000);   // few fit now: all keys again
  asked = 0;
  for (std::uint64_t key = 0; key < 1'000; ++key) {
    PolicyNode node;
    node.hash = key * 0xD6E8FEB86659FD93u;
    node.charge_bytes = 1;
    asked += sample.use(node) ? 1 : 0;
  }
  EXPECT_GT(asked, 900u);
}

// Blocks that are large, in chains that come in turns; and answers, small and dear.
Load both() {
  return [answers = scans(), i = std::uint64_t{0}]() mutable {
    ++i;
    if (i % 2 == 0) return answers();
    return Value{.key = 5'000'000 + i % 4'000, .bytes = 20, .cost_seconds = 1, .kind = Kind::kPrefixBlock};
  };
}

TEST(Auto, LosesNothingAgainstLruWhereThereIsBoth) {
  const double with_auto = Store("auto", 5'000).saved(both(), 300'000), with_lru = Store("lru", 5'000).saved(both(), 300'000);
  EXPECT_GT(with_auto, with_lru + 0.02) << "answers are under s3fifo, and blocks under the learned order";
}

TEST(Auto, GivesEachGroupWhatLruWouldGiveIt) {
  Store with_auto("auto", 5'000), with_lru("lru", 5'000);
  const auto expect_alike = [&](const char* when) {
    for (const Kind kind : {Kind::kAnswer, Kind::kPrefixBlock}) {
      EXPECT_NEAR(static_cast<double>(with_auto.bytes(kind)), static_cast<double>(with_lru.bytes(kind)), 300)
          << when << ", kind " << static_cast<int>(kind);
    }
  };
  for (Store* store : {&with_auto, &with_lru}) store->saved(both(), 50'000);
  expect_alike("both");
  for (Store* store : {&with_auto, &with_lru}) store->saved(scans(), 50'000);
  expect_alike("answers only");
  EXPECT_EQ(with_auto.bytes(Kind::kPrefixBlock), 0u);
  for (Store* store : {&with_auto, &with_lru}) store->saved(both(), 50'000);
  expect_alike("both again");
}

}   // namespace
}   // namespace tensorcache::policy
