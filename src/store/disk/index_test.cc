#include "store/disk/index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "testing/core/values.h"

namespace tensorcache::disk {
namespace {

using tensorcache::testing::key_of;

constexpr Place kSomewhere{1, 1, 1};

TEST(DiskIndex, TakesNoMoreThanItPromises) {
  Index index;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    const EntryClass entry_class{Kind::kOther, i % 1000, 0};
    const std::uint64_t promised = index.memory_bytes_with(1, std::span(&entry_class, 1));
    ASSERT_NE(index.insert(key_of(i), kSomewhere, entry_class, Index::kNone), Index::kNone);
    ASSERT_LE(index.memory_bytes(), promised);
  }
  EXPECT_LE(index.memory_bytes() / index.size(), 84u) << "bytes an entry";
}

TEST(DiskIndex, GivesItsMemoryBackAndKeepsWhatIsLeft) {
  Index index;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    const Index::Id parent = i % 10 == 0 ? Index::kNone : index.find(key_of(i - i % 10));
    static_cast<void>(index.insert(key_of(i), {1, static_cast<std::uint32_t>(i), 1}, {Kind::kOther, i % 7, 0}, parent));
  }
  for (std::uint64_t i = 0; i < 100'000; i += 10) {
    if (i % 100 != 50) index.erase(index.find(key_of(i)), SIZE_MAX, [](const Index&, Index::Id) {});
  }
  ASSERT_EQ(index.size(), 10'000u);
  while (index.shrink(0)) {
  }
  EXPECT_LE(index.memory_bytes() / index.size(), 96u) << "bytes an entry";
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    const Index::Id id = index.find(key_of(i));
    ASSERT_EQ(id != Index::kNone, i % 100 >= 50 && i % 100 < 60) << i;
    if (id == Index::kNone) continue;
    ASSERT_EQ(index[id].place.unit, i);
    ASSERT_EQ(index.class_of(id).owner, i % 7);
    ASSERT_EQ(index[id].parent, i % 10 == 0 ? Index::kNone : index.find(key_of(i - i % 10)));
  }
  std::size_t gone = 0;
  for (std::uint64_t i = 50; i < 100'000; i += 100) index.erase(index.find(key_of(i)), SIZE_MAX, [&](const Index&, Index::Id) { ++gone; });
  EXPECT_EQ(gone, 10'000u) << "the moved entries hang where they hung";
  while (index.shrink(0)) {
  }
  EXPECT_EQ(index.memory_bytes(), 0u);
}

TEST(DiskIndex, HasNoLimitOfClassesAndReusesThem) {
  Index index;
  constexpr std::uint64_t kOwners = 200'000;
  for (std::uint64_t i = 0; i < kOwners; ++i) {
    ASSERT_NE(index.insert(key_of(i), kSomewhere, {Kind::kOther, i, 0}, Index::kNone), Index::kNone);
    if (i >= 100) index.erase(index.find(key_of(i - 100)), SIZE_MAX, [](const Index&, Index::Id) {});
  }
  EXPECT_EQ(index.class_count(), 100u);
  EXPECT_LE(index.memory_bytes(), 200'000u);
  Index many;
  for (std::uint64_t i = 0; i < kOwners; ++i) static_cast<void>(many.insert(key_of(i), kSomewhere, {Kind::kOther, i, 0}, Index::kNone));
  EXPECT_EQ(many.class_count(), kOwners);
  for (std::uint64_t i = 0; i < kOwners; i += 997) EXPECT_EQ(many.class_of(many.find(key_of(i))).owner, i);
}

TEST(DiskIndex, ErasingTakesAllThatIsBehind) {
  Index index;
  std::vector<Index::Id> ids{index.insert(key_of(0), kSomewhere, {}, Index::kNone)};
  for (std::uint64_t i = 1; i < 50'000; ++i) ids.push_back(index.insert(key_of(i), kSomewhere, {}, ids.back()));
  const Index::Id side = index.insert(key_of(90'000), kSomewhere, {}, ids[10]);
  std::vector<Key> gone;
  index.erase(ids[10], SIZE_MAX, [&](const Index& each, Index::Id id) { gone.push_back(each[id].key); });
  EXPECT_EQ(gone.size(), 50'000u - 10 + 1);
  EXPECT_EQ(gone.back(), key_of(10)) << "parents last";
  EXPECT_EQ(index.find(key_of(90'000)), Index::kNone);
  EXPECT_EQ(index.find(key_of(9)), ids[9]);
  EXPECT_EQ(index[ids[9]].first_child, Index::kNone);
  static_cast<void>(side);
}

TEST(DiskIndex, AParentIsNeverOlderThanItsChildren) {
  Index index;
  const Index::Id a = index.insert(key_of(1), kSomewhere, {}, Index::kNone), b = index.insert(key_of(2), kSomewhere, {}, a),
                  c = index.insert(key_of(3), kSomewhere, {}, b);
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
      static_cast<void>(index.insert(key_of(number), kSomewhere, {Kind::kOther, number % 5, 0}, parent_id));
    } else if (random() % 3 == 0) {
      std::size_t gone = 0;
      index.erase(id, SIZE_MAX, [&](const Index&, Index::Id) { ++gone; });
      ASSERT_EQ(gone, erase_oracle(number));
    }
    if (step % 50 == 0) static_cast<void>(index.shrink(0));
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
