#include "store/disk/segment_table.h"

#include <gtest/gtest.h>

namespace tensorcache::disk {
namespace {

TEST(SegmentTable, FileBytesAreOfAllSegments) {
  SegmentTable segments;
  segments.set_file(1, 100, {}, nullptr);
  segments.set_file(4, 10, {}, nullptr);
  segments.set_file_bytes(1, 150);
  EXPECT_EQ(segments.file_bytes(), 160u);
  segments.set_file(1, 20, {}, nullptr);   // again: not twice
  EXPECT_EQ(segments.file_bytes(), 30u);
  segments.erase(4);
  EXPECT_EQ(segments.file_bytes(), 20u);
  segments.erase(4);
  EXPECT_EQ(segments.file_bytes(), 20u);
}

TEST(SegmentTable, UnlistedRecordsGoWithTheirSegment) {
  SegmentTable segments;
  segments.set_file(1, 100, {}, nullptr);
  segments.set_file(2, 100, {}, nullptr);
  segments.add_unlisted(1, 3);
  segments.add_unlisted(2, 2);
  segments.add_unlisted(9, 5);   // gone meanwhile
  EXPECT_EQ(segments.unlisted(), 5u);
  segments.erase(1);
  EXPECT_EQ(segments.unlisted(), 2u);
}

TEST(SegmentTable, AgesAreInTheOrderOfIds) {
  SegmentTable segments;
  for (const SegmentTable::Id id : {7, 3, 5}) segments.set_file(id, 1, {}, nullptr);
  EXPECT_EQ(segments.oldest(), 3u);
  EXPECT_EQ(segments.newest(), 7u);
  EXPECT_EQ(segments.after(3)->first, 5u);
  EXPECT_TRUE(segments.after(7) == segments.end());
  EXPECT_EQ(segments.find(4), nullptr);
}

TEST(SegmentTable, LiveEntriesAreCounted) {
  SegmentTable segments;
  segments.set_file(1, 1, {}, nullptr);
  segments.add_live(1);
  segments.add_live(1);
  segments.drop_live(1);
  segments.drop_live(2);
  EXPECT_EQ(segments.at(1).live(), 1u);
  segments.drop_all_live();
  EXPECT_EQ(segments.at(1).live(), 0u);
}

}   // namespace
}   // namespace tensorcache::disk
