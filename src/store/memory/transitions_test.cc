// Every transition of an entry's state (entry_state.h) while others make theirs on the same few
// keys.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "store/policy/policies.h"
#include "store/policy/policy.h"
#include "store/memory/memory_tier.h"
#include "testing/store/memory.h"

namespace tensorcache::memory {
namespace {

using namespace tensorcache::testing;
using namespace std::chrono_literals;

// Ends the process with a message when a test hangs, which no assertion would notice.
class Watchdog {
 public:
  explicit Watchdog(std::chrono::seconds time)
      : thread_([this, time] {
          std::unique_lock lock(mutex_);
          if (ended_.wait_for(lock, time, [this] { return over_; })) return;
          std::fputs("the test hangs\n", stderr);
          std::abort();
        }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    ended_.notify_all();
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::thread thread_;
};

// What a policy was handed and has not handed back. Every call must be about a node that it holds,
// or does not; restoring takes a while, as it may in a policy with much to order, so that other
// threads get in between.
struct Held {
  std::unordered_set<const policy::PolicyNode*> nodes;
  std::atomic<std::size_t> count{0};
  std::atomic<int> wrong{0};
  std::atomic<int> restoring{0};   // how often it began
  std::chrono::microseconds pause{0};
};

class Checked final : public policy::Policy {
 public:
  Checked(std::unique_ptr<policy::Policy> order, std::shared_ptr<Held> held) : order_(std::move(order)), held_(std::move(held)) {}
  void resize(std::uint64_t capacity_bytes) override { order_->resize(capacity_bytes); }
  void insert(policy::PolicyNode& node) override {
    take_in(node);
    order_->insert(node);
  }
  void touch(policy::PolicyNode& node) override {
    expect_held(node);
    order_->touch(node);
  }
  void erase(policy::PolicyNode& node) override {
    let_go(node);
    order_->erase(node);
  }
  policy::PolicyNode* pop() override {
    policy::PolicyNode* node = order_->pop();
    if (node != nullptr) let_go(*node);
    return node;
  }
  void restore(policy::PolicyNode& node) override {
    ++held_->restoring;
    if (held_->pause.count() > 0) std::this_thread::sleep_for(held_->pause);
    take_in(node);
    order_->restore(node);
  }
  void demote(policy::PolicyNode& node) override {
    expect_held(node);
    order_->demote(node);
  }

 private:
  void take_in(const policy::PolicyNode& node) {
    if (!held_->nodes.insert(&node).second) ++held_->wrong;
    held_->count = held_->nodes.size();
  }
  void let_go(const policy::PolicyNode& node) {
    if (held_->nodes.erase(&node) == 0) ++held_->wrong;
    held_->count = held_->nodes.size();
  }
  void expect_held(const policy::PolicyNode& node) {
    if (!held_->nodes.contains(&node)) ++held_->wrong;
  }

  std::unique_ptr<policy::Policy> order_;
  std::shared_ptr<Held> held_;
};

class Transitions : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kCapacity = 40'000, kValueBytes = 1000, kKeys = 48, kChain = 4;
  using Count = MemoryTier::Count;

  Transitions() {
    for (std::uint64_t i = 0; i < kKeys; ++i) keys_.push_back(key_of(i));
  }
  [[nodiscard]] PutOptions options_of(std::uint64_t id) const {
    PutOptions options{.owner = id % 3};
    if (id % kChain != 0) options.parent = keys_[id - 1];
    if (id % (3 * kChain) < kChain && id % kChain == 1) options.time_to_live = std::chrono::milliseconds(1);
    return options;
  }
  [[nodiscard]] std::span<const Key> chain_of(std::uint64_t id) const { return std::span(keys_).subspan(id / kChain * kChain, kChain); }

  // `pins`: of the calling thread, which it lets go of in some later step.
  void one_step(std::mt19937_64& random, std::vector<Handle>& pins) {
    const std::uint64_t id = random() % kKeys;
    const auto value = std::as_bytes(std::span(value_));
    switch (random() % 16) {
      case 0:
      case 1:
        (void)tier_->remove(keys_[id]);
        break;
      case 2:
        if (random() % 30 == 0) (void)tier_->clear(random() % 2 == 0 ? std::optional(id % 3) : std::nullopt);
        break;
      case 3:
        if (random() % 10 == 0) tier_->resize(random() % 3 == 0 ? kCapacity / 8 : kCapacity);
        break;
      case 4:
        tier_->demote(chain_of(id));
        break;
      case 5:
        tier_->advise(chain_of(id), {.priority = static_cast<std::uint8_t>(random() % 101), .keep_for = std::chrono::milliseconds(random() % 2)});
        break;
      case 6: {
        const Reservation dropped = tier_->reserve(keys_[id], kValueBytes, options_of(id));
        break;
      }
      case 7: {
        PutOptions options = options_of(id);
        options.replaces = true;
        (void)tier_->put(keys_[id], value, options);
        break;
      }
      case 8:
      case 9: {
        const auto run = tier_->match(chain_of(id), kChain);
        break;
      }
      case 10:
      case 11:
        if (Handle handle = tier_->get(keys_[id], Count::kYes)) pins.push_back(std::move(handle));
        break;
      case 12:
        if (!pins.empty()) std::swap(pins[random() % pins.size()], pins.back());
        if (!pins.empty()) pins.pop_back();
        break;
      default:
        (void)tier_->put(keys_[id], value, options_of(id));
    }
    if (pins.size() > 4) pins.erase(pins.begin());
  }

  std::shared_ptr<Held> held_ = std::make_shared<Held>();
  std::shared_ptr<MemoryTier> tier_ =
      MemoryTier::make(kCapacity, std::make_unique<Checked>(policy::make_lru(), held_), [] { return std::chrono::steady_clock::now(); });
  std::vector<Key> keys_;
  const std::string value_ = std::string(kValueBytes, 'v');
};

TEST_F(Transitions, EveryPairAtOnce) {
  const Watchdog watchdog(120s);
  const auto end = std::chrono::steady_clock::now() + 3s;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t + 1);
      std::vector<Handle> pins;
      while (std::chrono::steady_clock::now() < end) {
        for (int i = 0; i < 100; ++i) one_step(random, pins);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(held_->wrong, 0);
  EXPECT_GT(held_->restoring, 10) << "entries were parked, and put back";
  tier_->resize(kCapacity);
  tier_->resize(0);
  EXPECT_EQ(entries(tier_->stats()), 0u) << "all of it can be evicted";
  EXPECT_EQ(tier_->stats().used_bytes, 0u);
  EXPECT_EQ(held_->count, 0u);
}

// A pinned entry was chosen for eviction. Its pin is let go of while another thread takes its key
// out, as the policy takes it back.
class WhilePutBack : public Transitions, public ::testing::WithParamInterface<int> {
 protected:
  void take_out(const Key& key) {
    const auto value = std::as_bytes(std::span(value_));
    switch (GetParam()) {
      case 0:
        EXPECT_TRUE(tier_->remove(key));
        break;
      case 1:
        EXPECT_EQ(tier_->put(key, value, {.replaces = true}), PutStatus::kStored);
        break;
      case 2:
        EXPECT_GE(tier_->clear(std::nullopt), 1u);
        break;
      default:
        EXPECT_GE(tier_->clear(7), 1u);
    }
  }
};

TEST_P(WhilePutBack, TheEntryLeavesThePolicyToo) {
  const Watchdog watchdog(120s);
  const auto value = std::as_bytes(std::span(value_));
  for (int round = 0; round < 10; ++round) {
    held_->pause = 0us;
    const Key key = key_of(1000);
    (void)tier_->remove(key);
    ASSERT_EQ(tier_->put(key, value, {.owner = 7}), PutStatus::kStored);
    Handle pin = tier_->get(key, Count::kNo);
    for (std::uint64_t i = 0; i < 60; ++i) (void)tier_->put(key_of(2000 + i), value, {});   // parks it
    held_->pause = 10ms;
    const int before = held_->restoring;
    std::thread releaser([&] { pin.reset(); });
    while (held_->restoring == before) std::this_thread::yield();
    take_out(key);
    releaser.join();
    EXPECT_EQ(held_->count, entries(tier_->stats())) << "the policy holds what is stored and nothing else";
    held_->pause = 0us;
    for (std::uint64_t i = 0; i < 60; ++i) ASSERT_EQ(tier_->put(key_of(3000 + i), value, {}), PutStatus::kStored);
    tier_->clear(std::nullopt);
    ASSERT_EQ(held_->count, 0u);
    ASSERT_EQ(tier_->stats().used_bytes, 0u);
    ASSERT_EQ(held_->wrong, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(By, WhilePutBack, ::testing::Values(0, 1, 2, 3));

}   // namespace
}   // namespace tensorcache::memory
