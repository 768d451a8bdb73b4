#include "store/memory/eviction_order.h"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <vector>

#include "store/policy/policies.h"

namespace tensorcache::memory {
namespace {

using namespace std::chrono_literals;

class EvictionOrderTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kCapacity = 1 << 20;

  Entry& add(const Hints& hints = {}, std::uint64_t allowed_bytes = 0) {
    Entry& entry = entries_.emplace_back();
    entry.hash = entries_.size();
    entry.charge_bytes = 100;
    order_.insert(entry, hints, allowed_bytes);
    return entry;
  }
  // A hit, whose entry the reader may still hold.
  void use(Entry& entry) {
    Epochs::Section section(epochs_);
    section.count(1, 0);
    if (order_.note_use(entry, section)) full_ = true;
  }
  std::vector<Entry*> pop() {
    std::array<Entry*, 8> room{};
    const auto victims = order_.pop_victims(room);
    order_.evicted(victims.count);
    return {room.begin(), room.begin() + static_cast<std::ptrdiff_t>(victims.count)};
  }

  Budget budget_{kCapacity};
  Epochs epochs_;
  std::chrono::steady_clock::time_point now_{1h};
  EvictionOrder order_{budget_, epochs_, policy::make_lru(), [this] { return now_; }};
  std::deque<Entry> entries_;
  bool full_ = false;
};

TEST_F(EvictionOrderTest, AUseNotedBeforeCounts) {
  Entry& first = add();
  Entry& second = add();
  use(first);
  EXPECT_EQ(pop(), std::vector<Entry*>{&second});
  EXPECT_EQ(pop(), std::vector<Entry*>{&first});
  EXPECT_TRUE(pop().empty());
}

TEST_F(EvictionOrderTest, AVictimIsPinnedAndNoLongerLinked) {
  Entry& entry = add();
  EXPECT_TRUE(entry.has(kLinked));
  ASSERT_EQ(pop().size(), 1u);
  EXPECT_FALSE(entry.has(kLinked));
  EXPECT_TRUE(entry.state.is_referred_to());
}

TEST_F(EvictionOrderTest, AnEntryThatIsErasedIsNoVictim) {
  Entry& first = add();
  Entry& second = add();
  first.state.retire();
  order_.erase(first);
  EXPECT_FALSE(first.has(kLinked));
  EXPECT_EQ(pop(), std::vector<Entry*>{&second});
  EXPECT_TRUE(pop().empty());
}

TEST_F(EvictionOrderTest, AParkedEntryComesBackByUnparkOrByAUse) {
  Entry& first = add();
  Entry& second = add();
  first.state.pin();
  second.state.pin();
  ASSERT_EQ(pop(), std::vector<Entry*>{&first});
  ASSERT_FALSE(first.state.park_or_retire());
  ASSERT_EQ(pop(), std::vector<Entry*>{&second});
  ASSERT_FALSE(second.state.park_or_retire());
  EXPECT_TRUE(pop().empty()) << "parked ones are no victims";
  order_.unpark(first);
  EXPECT_TRUE(first.has(kLinked));
  use(second);
  EXPECT_EQ(pop(), std::vector<Entry*>{&first});
  EXPECT_EQ(pop(), std::vector<Entry*>{&second}) << "its use put it back, as the newer one";
}

TEST_F(EvictionOrderTest, OthersEvictUntilTheirVictimsAreFreed) {
  static_cast<void>(add());
  std::array<Entry*, 8> room{};
  const auto mine = order_.pop_victims(room);
  EXPECT_EQ(mine.count, 1u);
  EXPECT_FALSE(mine.others_evict);
  EXPECT_TRUE(order_.pop_victims(room).others_evict);
  order_.evicted(mine.count);
  EXPECT_FALSE(order_.pop_victims(room).others_evict);
}

TEST_F(EvictionOrderTest, ManyEntriesGoSeveralAtATime) {
  for (int i = 0; i < 3 * 4096; ++i) static_cast<void>(add());
  EXPECT_EQ(pop().size(), 3u);
}

// With many entries a hit writes only a tick; the least recently used still goes first.
TEST_F(EvictionOrderTest, WithManyEntriesUsesAreNotNoted) {
  for (int i = 0; i < 3000; ++i) static_cast<void>(add());
  full_ = false;
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < 100; ++i) use(entries_[i]);
  }
  EXPECT_FALSE(full_) << "no slot fills";
  for (std::size_t i = 0; i < 100; ++i) {
    for (const Entry* victim : pop()) EXPECT_GT(victim->hash, 100u) << "not one that was just used";
  }
}

TEST_F(EvictionOrderTest, ChargesForWhatIsKeptGoBackWhenItGoes) {
  ASSERT_TRUE(budget_.try_charge(2 * policy::Retention::kKeptBytes));
  Entry& kept = add({.keep_for = 10s}, 2 * policy::Retention::kKeptBytes);
  EXPECT_EQ(budget_.used(), policy::Retention::kKeptBytes) << "one was not needed";
  Entry& other = add();
  EXPECT_EQ(pop(), std::vector<Entry*>{&other});
  EXPECT_EQ(pop(), std::vector<Entry*>{&kept});
  EXPECT_EQ(budget_.used(), 0u);
}

TEST_F(EvictionOrderTest, ADemotedEntryIsNext) {
  static_cast<void>(add());
  Entry& second = add();
  Entry* const run[] = {&second};
  order_.demote(run);
  EXPECT_EQ(pop(), std::vector<Entry*>{&second});
}

}   // namespace
}   // namespace tensorcache::memory
