#include "disk/index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "base/testing.h"

namespace tensorcache::disk {
namespace {

using tensorcache::testing::key_of;

TEST(DiskIndex, TakesNoMoreThanItPromises) {
  Index index;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    const std::uint64_t promised = index.memory_bytes_after_insert();
    ASSERT_NE(index.insert(key_of(i), {1, 1, 1}, {}, Index::kNone), Index::kNone);
    ASSERT_LE(index.memory_bytes(), promised);
  }
  EXPECT_LE(index.memory_bytes() / index.size(), 96u) << "bytes an entry";
}

TEST(DiskIndex, ErasingTakesAllThatIsBehind) {
  Index index;
  std::vector<Index::Id> ids{index.insert(key_of(0), {}, {}, Index::kNone)};
  for (std::uint64_t i = 1; i < 50'000; ++i) ids.push_back(index.insert(key_of(i), {}, {}, ids.back()));
  const Index::Id side = index.insert(key_of(90'000), {}, {}, ids[10]);
  std::vector<Key> gone;
  index.erase(ids[10], [&](const Index& each, Index::Id id) { gone.push_back(each[id].key); });
  EXPECT_EQ(gone.size(), 50'000u - 10 + 1);
  EXPECT_EQ(gone.back(), key_of(10)) << "parents last";
  EXPECT_EQ(index.find(key_of(90'000)), Index::kNone);
  EXPECT_EQ(index.find(key_of(9)), ids[9]);
  EXPECT_EQ(index[ids[9]].first_child, Index::kNone);
  static_cast<void>(side);
}

TEST(DiskIndex, AParentIsNeverOlderThanItsChildren) {
  Index index;
  const Index::Id a = index.insert(key_of(1), {}, {}, Index::kNone), b = index.insert(key_of(2), {}, {}, a), c = index.insert(key_of(3), {}, {}, b);
  index.touch(c, 5);
  EXPECT_EQ(index[a].tick, 5u);
  index.touch(b, 7);
  EXPECT_EQ(index[a].tick, 7u);
  EXPECT_EQ(index[c].tick, 5u);
}

TEST(DiskIndex, AgreesWithAnOracle) {
  Index index;
  std::map<std::uint64_t, std::uint64_t> parent_of;   // number → parent, 0 none
  std::mt19937 random(3);
  const auto erase_oracle = [&](std::uint64_t number) {
    std::set<std::uint64_t> gone{number};
    for (bool more = true; more;) {
      more = false;
      for (const auto& [child, parent] : parent_of) more |= gone.contains(parent) && gone.insert(child).second;
    }
    for (const std::uint64_t each : gone) parent_of.erase(each);
    return gone.size();
  };
  for (int step = 0; step < 20'000; ++step) {
    const std::uint64_t number = 1 + random() % 300;
    const Index::Id id = index.find(key_of(number));
    ASSERT_EQ(id != Index::kNone, parent_of.contains(number));
    if (id == Index::kNone) {
      const std::uint64_t parent = random() % 300;
      const Index::Id parent_id = parent == 0 ? Index::kNone : index.find(key_of(parent));
      parent_of[number] = parent_id == Index::kNone ? 0 : parent;
      static_cast<void>(index.insert(key_of(number), {}, {Kind::kOther, number % 5, 0}, parent_id));
    } else if (random() % 3 == 0) {
      std::size_t gone = 0;
      index.erase(id, [&](const Index&, Index::Id) { ++gone; });
      ASSERT_EQ(gone, erase_oracle(number));
    }
    ASSERT_EQ(index.size(), parent_of.size());
  }
  std::size_t seen = 0;
  index.for_each([&](Index::Id id) {
    ++seen;
    EXPECT_LT(index.class_of(id).owner, 5u);
  });
  EXPECT_EQ(seen, parent_of.size());
}

}   // namespace
}   // namespace tensorcache::disk
