#include "store/disk/catalog.h"

#include <gtest/gtest.h>

#include "testing/core/values.h"

namespace tensorcache::disk {
namespace {

using testing::key_of;

constexpr EntryClass kClass{Kind::kOther, 1, 2};

class CatalogTest : public ::testing::Test {
 protected:
  CatalogTest() {
    for (const SegmentTable::Id id : {1, 2}) catalog.segments().set_file(id, 1000, {}, nullptr);
    catalog.reserve(100);
  }
  // A chain of three in segment 1, 1 and 2; each ten bytes.
  void insert_chain() {
    const Catalog::Id first = catalog.insert(key_of(1), {1, 1, 10}, kClass, Index::kNone);
    const Catalog::Id second = catalog.insert(key_of(2), {1, 2, 10}, kClass, first);
    catalog.insert(key_of(3), {2, 3, 10}, kClass, second);
  }
  [[nodiscard]] std::uint64_t live(SegmentTable::Id id) { return catalog.segments().at(id).live(); }

  Catalog catalog;
};

TEST_F(CatalogTest, EntriesCountInTheirSegment) {
  insert_chain();
  EXPECT_EQ(live(1), 2u);
  EXPECT_EQ(live(2), 1u);
  EXPECT_EQ(catalog.value_bytes(), 30u);
  EXPECT_TRUE(catalog.holds(key_of(3), {2, 3, 10}));
  EXPECT_FALSE(catalog.holds(key_of(3), {2, 4, 10}));
  EXPECT_FALSE(catalog.holds(key_of(4), {2, 3, 10}));
}

TEST_F(CatalogTest, AMoveChangesWhereAnEntryCounts) {
  insert_chain();
  catalog.move(catalog.find(key_of(2)), {2, 9, 10});
  EXPECT_EQ(live(1), 1u);
  EXPECT_EQ(live(2), 2u);
  EXPECT_TRUE(catalog.holds(key_of(2), {2, 9, 10}));
  EXPECT_EQ(catalog.value_bytes(), 30u);
}

TEST_F(CatalogTest, AnEntryGoesWithWhatIsChainedBehindIt) {
  insert_chain();
  std::vector<Place> places;
  places.reserve(10);
  std::size_t seen = 0;
  EXPECT_EQ(catalog.erase(catalog.find(key_of(2)), &places, SIZE_MAX, [&](const EntryClass& each) { seen += each == kClass ? 1 : 0; }), 2u);
  EXPECT_EQ(seen, 2u);
  EXPECT_EQ(places, (std::vector<Place>{{2, 3, 10}, {1, 2, 10}}));   // the last of the chain first
  EXPECT_EQ(live(1), 1u);
  EXPECT_EQ(live(2), 0u);
  EXPECT_EQ(catalog.value_bytes(), 10u);
  EXPECT_EQ(catalog.segments().unlisted(), 0u);
}

TEST_F(CatalogTest, PlacesAreNotedAsFarAsThereIsRoom) {
  insert_chain();
  std::vector<Place> places;
  places.reserve(1);
  EXPECT_EQ(catalog.erase(catalog.find(key_of(1)), &places), 3u);
  EXPECT_EQ(places.size(), 1u);
}

TEST_F(CatalogTest, ForgottenRecordsAreUnlistedButForThoseThatGoWithTheirSegment) {
  insert_chain();
  EXPECT_EQ(catalog.forget(catalog.find(key_of(1)), 1), 3u);
  EXPECT_EQ(catalog.segments().unlisted(), 1u);
  EXPECT_EQ(catalog.segments().at(2).unlisted(), 1u);
  EXPECT_EQ(catalog.value_bytes(), 0u);
}

TEST_F(CatalogTest, ErasingAllKeepsTheSegments) {
  insert_chain();
  Index dropped;
  catalog.erase_all(dropped);
  EXPECT_EQ(dropped.size(), 3u);
  EXPECT_EQ(catalog.index().size(), 0u);
  EXPECT_EQ(live(1), 0u);
  EXPECT_EQ(catalog.segments().size(), 2u);
  EXPECT_EQ(catalog.value_bytes(), 0u);
}

TEST_F(CatalogTest, AResetKeepsNothing) {
  insert_chain();
  Index index;
  SegmentTable segments;
  catalog.reset(index, segments);
  EXPECT_EQ(index.size(), 3u);
  EXPECT_EQ(segments.file_bytes(), 2000u);
  EXPECT_TRUE(catalog.segments().empty());
  EXPECT_EQ(catalog.segments().file_bytes(), 0u);
  EXPECT_EQ(catalog.value_bytes(), 0u);
}

}   // namespace
}   // namespace tensorcache::disk
