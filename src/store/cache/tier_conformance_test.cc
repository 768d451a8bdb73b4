// What every tier promises, whatever holds its bytes: one suite over the memory tier, the disk
// tier, and stacks of two and of three.
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "store/cache/tier_stack.h"
#include "testing/store/cache.h"
#include "testing/store/disk.h"
#include "store/policy/policy.h"
#include "store/memory/memory_tier.h"
#include "testing/core/eventually.h"

namespace tensorcache::cache {
namespace {

using testing::FakeClock;
using testing::key_of;

constexpr std::uint64_t kCapacity = std::uint64_t{4} << 20;

struct Put {
  std::uint64_t number = 0;
  std::size_t bytes = 1000;
  std::optional<std::uint64_t> parent = std::nullopt;
  std::uint64_t owner = 0;
  std::chrono::milliseconds time_to_live{0};
};

// Values are value_of(number, bytes), or `seed`'s to tell a second one of the same key from the
// first.
class AnyTier {
 public:
  virtual ~AnyTier() = default;
  virtual bool put(const Put& put, std::uint64_t seed) = 0;
  bool put(const Put& value) { return put(value, value.number); }
  virtual std::optional<std::string> get(std::uint64_t number) = 0;
  virtual bool contains(std::uint64_t number) = 0;
  virtual bool remove(std::uint64_t number) = 0;
  virtual std::uint64_t clear(std::optional<std::uint64_t> owner) = 0;
  virtual void resize(std::uint64_t capacity) = 0;
  virtual void advance(std::chrono::milliseconds time) = 0;
  virtual std::uint64_t bytes() = 0;
  virtual void flush_uses() {}   // what was put is there, and the budget is kept
};

class Memory final : public AnyTier {
 public:
  bool put(const Put& put, std::uint64_t seed) override {
    const std::string value = testing::value_of(seed, put.bytes);
    PutOptions options{.owner = put.owner, .time_to_live = put.time_to_live};
    if (put.parent) options.parent = key_of(*put.parent);
    return tier_->put(key_of(put.number), std::as_bytes(std::span(value)), options) == PutStatus::kStored;
  }
  std::optional<std::string> get(std::uint64_t number) override {
    const Handle handle = tier_->get(key_of(number), memory::MemoryTier::Count::kYes);
    return handle ? std::optional(std::string(handle.text())) : std::nullopt;
  }
  bool contains(std::uint64_t number) override { return tier_->contains(key_of(number)); }
  bool remove(std::uint64_t number) override { return tier_->remove(key_of(number)); }
  std::uint64_t clear(std::optional<std::uint64_t> owner) override { return tier_->clear(owner); }
  void resize(std::uint64_t capacity) override { tier_->resize(capacity); }
  void advance(std::chrono::milliseconds time) override { clock_.advance(time); }
  std::uint64_t bytes() override { return tier_->stats().used_bytes; }

 private:
  FakeClock clock_;
  std::shared_ptr<memory::MemoryTier> tier_ = memory::MemoryTier::make(kCapacity, policy::make_policy("lru"), clock_.function());
};

class Disk final : public AnyTier {
 public:
  bool put(const Put& put, std::uint64_t seed) override {
    const auto value = std::make_shared<std::string>(testing::value_of(seed, put.bytes));
    disk::DiskTier::Value item;
    item.key = key_of(put.number);
    item.bytes = std::as_bytes(std::span(*value));
    item.holder = value;
    item.owner = put.owner;
    item.created_unix_ms = tier_.now_ms();
    if (put.parent) item.parent = key_of(*put.parent);
    if (put.time_to_live.count() != 0) item.expires_unix_ms = item.created_unix_ms + put.time_to_live.count();
    const bool stored = tier_->put(std::move(item));
    flush_uses();
    return stored;
  }
  std::optional<std::string> get(std::uint64_t number) override {
    const Key key = key_of(number);
    std::string value;
    const std::size_t count = tier_
                                  ->read(
                                      std::span(&key, 1),
                                      [&](std::size_t, const disk::DiskTier::Found& found) {
                                        value.resize(found.value_bytes);
                                        return std::as_writable_bytes(std::span(value));
                                      },
                                      [](std::size_t, const tier::Copy&) { return disk::DiskTier::Verdict::kTaken; })
                                  .accepted;
    return count == 1 ? std::optional(value) : std::nullopt;
  }
  bool contains(std::uint64_t number) override { return tier_->contains(key_of(number)); }
  bool remove(std::uint64_t number) override { return tier_->remove(key_of(number)); }
  std::uint64_t clear(std::optional<std::uint64_t> owner) override { return tier_->clear(owner); }
  void resize(std::uint64_t capacity) override { tier_->resize(capacity); }
  void advance(std::chrono::milliseconds time) override { tier_.now_ms() += time.count(); }
  std::uint64_t bytes() override { return tier_->stats().used_bytes; }
  void flush_uses() override {
    EXPECT_TRUE(tier_->flush(std::chrono::seconds(20)));
    const auto fits = [&] { return tier_->stats().used_bytes <= tier_->stats().capacity_bytes; };
    EXPECT_TRUE(testing::eventually(fits)) << "it shrinks on its own thread";
  }

 private:
  testing::TestTier tier_{std::make_shared<testing::FaultFiles>(), [](disk::DiskTierOptions& options) { options.capacity_bytes = kCapacity; }};
};

// The memory over one or more disk tiers, with the rules between them.
template <std::size_t kDisks>
class Stack final : public AnyTier {
 public:
  Stack() {
    LowerTiers lower;
    for (std::size_t i = 0; i < kDisks; ++i) {
      disk::DiskTierOptions options;
      options.directory = "cache" + std::to_string(i);
      options.capacity_bytes = kCapacity;
      options.files = files_;
      options.unix_ms = [now = now_ms_] { return now->load(); };
      auto tier = std::make_unique<disk::DiskTier>(options);
      EXPECT_TRUE(tier->wait_ready(std::chrono::seconds(20)));
      disks_.push_back(tier.get());
      lower.push_back(std::move(tier));
    }
    tiers_ = std::make_unique<TierStack>(memory_, std::move(lower), [now = now_ms_] { return now->load(); });
  }
  bool put(const Put& put, std::uint64_t seed) override {
    const std::string value = testing::value_of(seed, put.bytes);
    PutOptions options{.owner = put.owner, .time_to_live = put.time_to_live};
    if (put.parent) options.parent = key_of(*put.parent);
    const bool stored = tiers_->put(key_of(put.number), std::as_bytes(std::span(value)), options) == PutStatus::kStored;
    if (++puts_ % 3 != 0) return stored;   // some values wait below, some are written, some are only there
    flush_uses();
    if (puts_ % 2 == 0) memory_->clear(std::nullopt);
    return stored;
  }
  std::optional<std::string> get(std::uint64_t number) override {
    const Lookup found = tiers_->look_up(key_of(number), Tiers::kAll, memory::MemoryTier::Count::kYes);
    EXPECT_FALSE(found.unavailable) << number;
    return found.value ? std::optional(std::string(found.value.text())) : std::nullopt;
  }
  bool contains(std::uint64_t number) override { return tiers_->contains(key_of(number), Tiers::kAll); }
  bool remove(std::uint64_t number) override { return tiers_->remove(key_of(number)); }
  std::uint64_t clear(std::optional<std::uint64_t> owner) override {
    flush_uses();   // what waits has no place to be counted at
    return tiers_->clear(Selection{.owner = owner});
  }
  void resize(std::uint64_t capacity) override {
    tiers_->resize(capacity);
    for (disk::DiskTier* disk : disks_) disk->resize(capacity);
  }
  void advance(std::chrono::milliseconds time) override {
    clock_.advance(time);
    *now_ms_ += time.count();
  }
  std::uint64_t bytes() override {
    std::uint64_t most = memory_->stats().used_bytes;
    for (disk::DiskTier* disk : disks_) most = std::max(most, disk->stats().used_bytes);
    return most;
  }
  void flush_uses() override {
    static_cast<void>(tiers_->flush(std::chrono::seconds(20)));   // false where one was dropped: it may be in memory alone
    const auto fits = [](const disk::DiskTier* disk) { return disk->stats().used_bytes <= disk->stats().capacity_bytes; };
    EXPECT_TRUE(testing::eventually([&] { return std::all_of(disks_.begin(), disks_.end(), fits); }));
  }

 private:
  FakeClock clock_;
  std::shared_ptr<std::atomic<std::int64_t>> now_ms_ = std::make_shared<std::atomic<std::int64_t>>(1'700'000'000'000);
  std::shared_ptr<file::FileSystem> files_ = std::make_shared<testing::FaultFiles>();
  std::shared_ptr<memory::MemoryTier> memory_ = memory::MemoryTier::make(kCapacity, policy::make_policy("lru"), clock_.function());
  std::vector<disk::DiskTier*> disks_;
  std::unique_ptr<TierStack> tiers_;
  std::uint64_t puts_ = 0;
};

template <class Tier>
class EveryTier : public ::testing::Test {
 protected:
  // A value is right or not there.
  bool right(std::uint64_t number, std::size_t bytes = 1000) {
    const auto value = tier_.get(number);
    if (value) {
      EXPECT_EQ(*value, testing::value_of(number, bytes)) << "a wrong value for " << number;
    }
    return value.has_value();
  }
  Tier owned_;
  AnyTier& tier_ = owned_;
};
using EveryTierTypes = ::testing::Types<Memory, Disk, Stack<1>, Stack<2>>;
TYPED_TEST_SUITE(EveryTier, EveryTierTypes);

TYPED_TEST(EveryTier, GivesBackWhatWasPut) {
  EXPECT_FALSE(this->right(1)) << "nothing was put yet";
  for (const std::size_t bytes : {1, 63, 64, 4095, 4096, 4097, 200'000}) {
    ASSERT_TRUE(this->tier_.put({.number = bytes, .bytes = bytes}));
    EXPECT_TRUE(this->right(bytes, bytes)) << bytes;
    EXPECT_TRUE(this->tier_.contains(bytes));
  }
}

TYPED_TEST(EveryTier, KeepsTheFirstValueOfAKey) {
  ASSERT_TRUE(this->tier_.put({.number = 1}));
  this->tier_.put({.number = 1}, 2);
  EXPECT_TRUE(this->right(1));
}

TYPED_TEST(EveryTier, ForgetsWhatIsRemovedAndTakesItAgain) {
  ASSERT_TRUE(this->tier_.put({.number = 1}));
  EXPECT_TRUE(this->tier_.remove(1));
  EXPECT_FALSE(this->right(1));
  EXPECT_FALSE(this->tier_.contains(1));
  EXPECT_FALSE(this->tier_.remove(1));
  ASSERT_TRUE(this->tier_.put({.number = 1}));
  EXPECT_TRUE(this->right(1));
}

TYPED_TEST(EveryTier, ForgetsAnOwnersValuesAndNobodyElses) {
  for (std::uint64_t n = 0; n < 10; ++n) ASSERT_TRUE(this->tier_.put({.number = n, .owner = n % 2}));
  EXPECT_EQ(this->tier_.clear(1), 5u);
  for (std::uint64_t n = 0; n < 10; ++n) EXPECT_EQ(this->right(n), n % 2 == 0) << n;
  EXPECT_EQ(this->tier_.clear(std::nullopt), 5u);
  for (std::uint64_t n = 0; n < 10; ++n) EXPECT_FALSE(this->right(n)) << n;
}

TYPED_TEST(EveryTier, ServesNothingExpired) {
  ASSERT_TRUE(this->tier_.put({.number = 1, .time_to_live = std::chrono::seconds(10)}));
  ASSERT_TRUE(this->tier_.put({.number = 2}));
  this->tier_.advance(std::chrono::milliseconds(9'999));
  EXPECT_TRUE(this->right(1));
  this->tier_.advance(std::chrono::milliseconds(1));
  EXPECT_FALSE(this->right(1));
  EXPECT_TRUE(this->right(2));
}

TYPED_TEST(EveryTier, KeepsItsBudgetAtEveryPut) {
  constexpr std::size_t kBytes = 50'000;
  for (std::uint64_t n = 0; n < 4 * kCapacity / kBytes; ++n) {
    this->tier_.put({.number = n, .bytes = kBytes});
    ASSERT_LE(this->tier_.bytes(), kCapacity) << n;
  }
  std::uint64_t there = 0;
  for (std::uint64_t n = 0; n < 4 * kCapacity / kBytes; ++n) there += this->right(n, kBytes) ? 1 : 0;
  EXPECT_GT(there, kCapacity / kBytes / 2) << "most of the budget holds values";
  EXPECT_TRUE(this->right(4 * kCapacity / kBytes - 1, kBytes)) << "the newest is there";
}

TYPED_TEST(EveryTier, RefusesWhatNeverFitsAndLosesNothing) {
  ASSERT_TRUE(this->tier_.put({.number = 1}));
  EXPECT_FALSE(this->tier_.put({.number = 2, .bytes = kCapacity}));
  EXPECT_FALSE(this->right(2));
  EXPECT_TRUE(this->right(1));
}

TYPED_TEST(EveryTier, ShrinksWhileItRuns) {
  constexpr std::size_t kBytes = 20'000;
  for (std::uint64_t n = 0; n < kCapacity / kBytes; ++n) this->tier_.put({.number = n, .bytes = kBytes});
  this->tier_.resize(kCapacity / 4);
  this->tier_.flush_uses();
  EXPECT_LE(this->tier_.bytes(), kCapacity / 4);
  for (std::uint64_t n = 0; n < kCapacity / kBytes; ++n) this->right(n, kBytes);
  this->tier_.put({.number = 1'000'000, .bytes = kBytes});
  EXPECT_TRUE(this->right(1'000'000, kBytes));
}

TYPED_TEST(EveryTier, KeepsNoBlockWhoseParentIsGone) {
  constexpr std::uint64_t kBlocks = 8;
  constexpr std::size_t kBytes = 30'000;
  const auto number = [](std::uint64_t chain, std::uint64_t block) { return chain * 100 + block; };
  for (std::uint64_t chain = 0; chain < 60; ++chain) {
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      const auto parent = block > 0 ? std::optional(number(chain, block - 1)) : std::nullopt;
      this->tier_.put({.number = number(chain, block), .bytes = kBytes, .parent = parent});
    }
    this->right(number(0, 0), kBytes);   // in use all the time
  }
  std::uint64_t there = 0;
  for (std::uint64_t chain = 0; chain < 60; ++chain) {
    for (std::uint64_t block = 1; block < kBlocks; ++block) {
      if (!this->tier_.contains(number(chain, block))) continue;
      ++there;
      EXPECT_TRUE(this->tier_.contains(number(chain, block - 1))) << chain << "." << block;
    }
  }
  EXPECT_GT(there, 0u);
  EXPECT_TRUE(this->right(number(0, 0), kBytes)) << "what is used stays";
}

TYPED_TEST(EveryTier, AnyOrderOfCallsGivesTheRightValueOrNone) {
  std::mt19937 random(5);
  std::set<std::uint64_t> removed;   // and not put since
  for (int i = 0; i < 3'000; ++i) {
    const std::uint64_t number = random() % 200;
    const std::size_t bytes = 1'000 + number * 300;
    switch (random() % 5) {
      case 0:
      case 1:
        if (this->tier_.put({.number = number, .bytes = bytes, .owner = number % 3})) removed.erase(number);
        break;
      case 2:
        this->tier_.remove(number);
        removed.insert(number);
        break;
      default:
        if (this->right(number, bytes)) {
          EXPECT_FALSE(removed.contains(number)) << number;
        }
    }
    ASSERT_LE(this->tier_.bytes(), kCapacity);
  }
}

// What only the lowest of three tiers holds is found, brought into memory, and written to the tier
// above on the way.
TEST(TierStack, WhatComesFromTheLowestTierIsPromoted) {
  const auto memory = memory::MemoryTier::make(kCapacity, policy::make_policy("lru"), std::chrono::steady_clock::now);
  const auto files = std::make_shared<testing::FaultFiles>();
  const auto now = [] { return std::int64_t{1'700'000'000'000}; };
  std::array<disk::DiskTier*, 2> disks{};
  LowerTiers lower;
  for (std::size_t i = 0; i < disks.size(); ++i) {
    disk::DiskTierOptions options;
    options.directory = "disk" + std::to_string(i);
    options.files = files;
    options.unix_ms = now;
    auto tier = std::make_unique<disk::DiskTier>(options);
    ASSERT_TRUE(tier->wait_ready(std::chrono::seconds(20)));
    disks[i] = tier.get();
    lower.push_back(std::move(tier));
  }
  TierStack tiers(memory, std::move(lower), now);
  const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  const std::string first = testing::value_of(1, 1000), second = testing::value_of(2, 1000);
  ASSERT_EQ(tiers.put(key_of(1), bytes(first), {}), PutStatus::kStored);
  ASSERT_EQ(tiers.put(key_of(2), bytes(second), {.parent = key_of(1)}), PutStatus::kStored);
  ASSERT_TRUE(tiers.flush(std::chrono::seconds(20)));
  memory->clear(std::nullopt);
  disks[0]->clear(std::nullopt);
  ASSERT_TRUE(disks[0]->flush(std::chrono::seconds(20)));
  ASSERT_FALSE(disks[0]->contains(key_of(2)));

  const Lookup found = tiers.look_up(key_of(2), Tiers::kAll, memory::MemoryTier::Count::kYes);
  ASSERT_TRUE(found.value);
  EXPECT_EQ(found.value.text(), second);
  ASSERT_TRUE(tiers.flush(std::chrono::seconds(20)));
  EXPECT_TRUE(disks[0]->contains(key_of(1))) << "what it is chained behind goes first";
  EXPECT_TRUE(disks[0]->contains(key_of(2)));
  EXPECT_TRUE(tiers.remove(key_of(1)));
  for (const disk::DiskTier* disk : disks) EXPECT_FALSE(disk->contains(key_of(2))) << "removed from every tier, with what is behind it";
  EXPECT_FALSE(tiers.look_up(key_of(2), Tiers::kAll, memory::MemoryTier::Count::kNo).value);
}

}   // namespace
}   // namespace tensorcache::cache
