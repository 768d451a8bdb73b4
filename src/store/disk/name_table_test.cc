#include "store/disk/name_table.h"

#include <gtest/gtest.h>

namespace tensorcache::disk {
namespace {

using Of = NameTable::Of;

TEST(NameTable, OnlyChangesAreTaken) {
  NameTable table;
  EXPECT_FALSE(table.take_changed());
  EXPECT_TRUE(table.set(Of::kOwner, 1, "ann"));
  const auto names = table.take_changed();
  ASSERT_TRUE(names);
  EXPECT_EQ(names->owners.at(1), "ann");
  EXPECT_TRUE(table.set(Of::kOwner, 1, "ann"));
  EXPECT_FALSE(table.take_changed());
  EXPECT_TRUE(table.set(Of::kOwner, 1, "bob"));
  EXPECT_EQ(table.take_changed().value().owners.at(1), "bob");
}

TEST(NameTable, SeveralSourcesMayHaveOneName) {
  NameTable table;
  table.set(Of::kSource, 1, "model");
  table.set(Of::kSource, 2, "other");
  table.set(Of::kSource, 3, "model");
  table.set(Of::kOwner, 4, "model");
  EXPECT_EQ(table.sources_named("model"), (std::vector<std::uint64_t>{1, 3}));
}

TEST(NameTable, GivenNamesGoBeforeSavedOnes) {
  NameTable table;
  table.set(Of::kOwner, 1, "given");
  ASSERT_TRUE(table.take_changed());
  table.merge({{{1, "saved"}}, {}});
  EXPECT_FALSE(table.take_changed());
  table.merge({{{1, "saved"}, {2, "two"}}, {{3, "three"}}});
  const Names names = table.take_changed().value();
  EXPECT_EQ(names.owners.at(1), "given");
  EXPECT_EQ(names.owners.at(2), "two");
  EXPECT_EQ(names.sources.at(3), "three");
}

TEST(NameTable, TooManyAreRefusedButKnownOnesMayChange) {
  NameTable table;
  for (std::uint64_t i = 0; i < kMaxNames; ++i) ASSERT_TRUE(table.set(Of::kOwner, i, "name"));
  EXPECT_FALSE(table.set(Of::kOwner, kMaxNames, "name"));
  EXPECT_TRUE(table.set(Of::kOwner, 5, "other"));
  EXPECT_TRUE(table.set(Of::kSource, kMaxNames, "name"));
}

}   // namespace
}   // namespace tensorcache::disk
