#include "store/disk/removal_ledger.h"

#include <gtest/gtest.h>

#include <iterator>

#include "testing/core/values.h"

namespace tensorcache::disk {
namespace {

using testing::key_of;
using Removals = RemovalLedger::Removals;

Value value_of(std::uint64_t key, std::uint64_t owner = 0, std::uint64_t source = 0, std::int64_t created_unix_ms = 0) {
  Value value;
  value.key = key_of(key);
  value.owner = owner;
  value.source = source;
  value.created_unix_ms = created_unix_ms;
  return value;
}

RecordHeader header_of(const Value& value) {
  RecordHeader header;
  header.key = value.key;
  header.owner = value.owner;
  header.source = value.source;
  header.created_unix_ms = value.created_unix_ms;
  return header;
}

class RemovalLedgerTest : public ::testing::Test {
 protected:
  void remove(std::uint64_t key, std::size_t places = 0) {
    Removals removal(1);
    removal.front().key = key_of(key);
    removal.front().erased.resize(places);
    ledger.name(key_of(key));
    ledger.enqueue(removal);
  }
  void clear(const Selected& what) {
    std::list<RemovalLedger::Clearing> node(1);
    node.front().what = what;
    ledger.begin_clear(what, node);
    Removals removal(1);
    removal.front().type = RecordType::kClearOwner;
    removal.front().what = what;
    ledger.end_clear(what);
    ledger.enqueue(removal);
  }
  Removals clear_all() {
    Removals removal(1), dropped;
    ledger.clear_all(removal, dropped);
    return dropped;
  }
  void settle_one() {
    Removals taken, done;
    ledger.take(taken);
    ledger.settle(taken, taken.begin(), taken.end(), done);
  }

  RemovalLedger ledger;
};

TEST_F(RemovalLedgerTest, ARemovalCountsForWhatWasPutBefore) {
  const std::uint64_t before = ledger.take_number();
  remove(1);
  const std::uint64_t after = ledger.take_number();
  EXPECT_TRUE(ledger.removed_since(value_of(1), before));
  EXPECT_FALSE(ledger.removed_since(value_of(1), after));
  EXPECT_FALSE(ledger.removed_since(value_of(2), before));
  EXPECT_TRUE(ledger.names(header_of(value_of(1))));
  EXPECT_FALSE(ledger.is_cleared(header_of(value_of(1))));
  settle_one();
  EXPECT_FALSE(ledger.removed_since(value_of(1), before));
  EXPECT_FALSE(ledger.names(header_of(value_of(1))));
  EXPECT_EQ(ledger.size(), 0u);
}

TEST_F(RemovalLedgerTest, TheLaterOfTwoRemovalsStays) {
  remove(1);
  const std::uint64_t between = ledger.take_number();
  remove(1);
  settle_one();
  EXPECT_TRUE(ledger.removed_since(value_of(1), between));
  settle_one();
  EXPECT_FALSE(ledger.removed_since(value_of(1), between));
}

TEST_F(RemovalLedgerTest, WhatIsPutBackIsInItsPlace) {
  remove(1);
  remove(2);
  Removals taken;
  ledger.take(taken);
  remove(3);
  EXPECT_EQ(ledger.size(), 3u);
  ledger.put_back(taken, taken.begin(), taken.end());
  EXPECT_EQ(ledger.size(), 3u);
  std::vector<std::uint64_t> numbers;
  for (const Removal& removal : ledger.waiting()) numbers.push_back(removal.number);
  EXPECT_EQ(numbers, (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST_F(RemovalLedgerTest, PlacesCountUntilTheyAreSettled) {
  remove(1, 10);
  remove(2, 5);
  EXPECT_EQ(ledger.places_left(), RemovalLedger::kMaxPlaces - 15);
  Removals taken, done;
  ledger.take(taken);
  clear_all();   // what waits goes, what is being written does not
  EXPECT_EQ(ledger.places_left(), RemovalLedger::kMaxPlaces - 10);
  EXPECT_EQ(ledger.size(), 2u);
  ledger.settle(taken, taken.begin(), taken.end(), done);
  EXPECT_EQ(ledger.places_left(), RemovalLedger::kMaxPlaces);
  EXPECT_EQ(done.size(), 1u);
}

TEST_F(RemovalLedgerTest, AClearByOwnerKeepsNewEntriesOutUntilItIsSettled) {
  Selected what;
  what.owner = 5;
  const std::uint64_t before = ledger.take_number();
  clear(what);
  const std::uint64_t after = ledger.take_number();
  EXPECT_TRUE(ledger.removed_since(value_of(1, 5), before));
  EXPECT_FALSE(ledger.removed_since(value_of(1, 5), after));
  EXPECT_TRUE(ledger.is_cleared(header_of(value_of(1, 5))));
  EXPECT_FALSE(ledger.is_cleared(header_of(value_of(1, 6))));
  settle_one();
  EXPECT_FALSE(ledger.is_cleared(header_of(value_of(1, 5))));
}

TEST_F(RemovalLedgerTest, WhileAClearIsGoingOnWhatIsPutIsClearedToo) {
  Selected what;
  what.source = 7;
  std::list<RemovalLedger::Clearing> node(1);
  node.front().what = what;
  ledger.begin_clear(what, node);
  const std::uint64_t meanwhile = ledger.take_number();
  EXPECT_EQ(ledger.selections(), 1u);
  EXPECT_TRUE(ledger.removed_since(value_of(1, 0, 7), meanwhile));
  ledger.end_clear(what);
  EXPECT_TRUE(ledger.removed_since(value_of(1, 0, 7), meanwhile));
  EXPECT_FALSE(ledger.removed_since(value_of(1, 0, 7), meanwhile + 1));
}

TEST_F(RemovalLedgerTest, AClearByAgeCountsForOlderValuesOnly) {
  Selected what;
  what.until_unix_ms = 1000;
  const std::uint64_t before = ledger.take_number();
  clear(what);
  EXPECT_TRUE(ledger.removed_since(value_of(1, 0, 0, 1000), before));
  EXPECT_FALSE(ledger.removed_since(value_of(1, 0, 0, 1001), before));
}

TEST_F(RemovalLedgerTest, AClearOfEverythingDropsTheOthers) {
  const std::uint64_t before = ledger.take_number();
  remove(1);
  Selected what;
  what.owner = 5;
  clear(what);
  EXPECT_EQ(clear_all().size(), 2u);
  EXPECT_EQ(ledger.size(), 1u);
  EXPECT_TRUE(ledger.waiting().front().clear_all);
  EXPECT_TRUE(ledger.removed_since(value_of(9), before));
  EXPECT_TRUE(ledger.names(header_of(value_of(9))));
  EXPECT_TRUE(ledger.names_since(key_of(9), before));
  settle_one();
  EXPECT_FALSE(ledger.names(header_of(value_of(9))));
  EXPECT_TRUE(ledger.removed_since(value_of(9), before));   // it may be in the queue still
}

TEST_F(RemovalLedgerTest, WhileEverythingIsBeingClearedNothingGetsAnEntry) {
  ledger.begin_clear_all();
  clear_all();
  const std::uint64_t meanwhile = ledger.take_number();
  EXPECT_TRUE(ledger.is_cleared(header_of(value_of(1))));
  EXPECT_TRUE(ledger.removed_since(value_of(1), meanwhile));
  ledger.end_clear_all();
  EXPECT_FALSE(ledger.is_cleared(header_of(value_of(1))));
  EXPECT_TRUE(ledger.removed_since(value_of(1), meanwhile));
  EXPECT_FALSE(ledger.removed_since(value_of(1), ledger.take_number()));
}

TEST_F(RemovalLedgerTest, APurgeNamesAllItsKeysAtOnce) {
  const std::uint64_t before = ledger.take_number();
  remove(1);
  const std::vector<Key> keys{key_of(1), key_of(2)};
  RemovalLedger::Numbers numbers = ledger.prepare(keys);
  Removals removal(1);
  removal.front().what.keys = keys;
  removal.front().purged = keys;
  ledger.name(numbers);
  ledger.enqueue(removal);
  settle_one();   // the removal, which was named again since
  EXPECT_TRUE(ledger.removed_since(value_of(1), before));
  EXPECT_TRUE(ledger.removed_since(value_of(2), before));
  settle_one();
  EXPECT_FALSE(ledger.removed_since(value_of(1), before));
  EXPECT_FALSE(ledger.removed_since(value_of(2), before));
}

}   // namespace
}   // namespace tensorcache::disk
