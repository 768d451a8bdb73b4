// What every tier promises, whatever holds its bytes: one suite over the memory tier and the disk tier.
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "testing/store/cache.h"
#include "testing/store/disk.h"
#include "store/policy/policy.h"
#include "store/memory/memory_tier.h"

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

// Values are value_of(number, bytes), or `seed`'s to tell a second one of the same key from the first.
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
  virtual void settle() {}   // what was put is there, and the budget is kept
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
    settle();
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
                                      [](std::size_t, const disk::RecordHeader&, const disk::Place&) { return disk::DiskTier::Verdict::kTaken; })
                                  .accepted;
    return count == 1 ? std::optional(value) : std::nullopt;
  }
  bool contains(std::uint64_t number) override { return tier_->contains(key_of(number)); }
  bool remove(std::uint64_t number) override { return tier_->remove(key_of(number)); }
  std::uint64_t clear(std::optional<std::uint64_t> owner) override { return tier_->clear(owner); }
  void resize(std::uint64_t capacity) override { tier_->resize(capacity); }
  void advance(std::chrono::milliseconds time) override { tier_.now_ms() += time.count(); }
  std::uint64_t bytes() override { return tier_->stats().used_bytes; }
  void settle() override {
    EXPECT_TRUE(tier_->flush(std::chrono::seconds(20)));
    const auto over = [&] { return tier_->stats().used_bytes > tier_->stats().capacity_bytes; };
    for (int i = 0; over() && i < 20'000; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));   // it shrinks on its own thread
  }

 private:
  testing::TestTier tier_{std::make_shared<testing::FaultFiles>(), [](disk::DiskTierOptions& options) { options.capacity_bytes = kCapacity; }};
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
using Tiers = ::testing::Types<Memory, Disk>;
TYPED_TEST_SUITE(EveryTier, Tiers);

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
  this->tier_.settle();
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

}   // namespace
}   // namespace tensorcache::cache
