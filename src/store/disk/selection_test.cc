// What a deletion selects: by owner, source and age; and the file that names deletions.
#include <algorithm>
#include <functional>

#include "testing/store/disk.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

void small(DiskTierOptions& options) {
  options.capacity_bytes = 4 << 20;
  options.segment_bytes = 128 << 10;
}

TEST(DiskSelection, SelectsBySourceAgeAndTheirCombinations) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, small);
  const std::int64_t begin = tier.now_ms();
  // Number: 100 * owner + 10 * source + age.
  for (std::uint64_t age = 0; age < 5; ++age) {
    for (std::uint64_t owner = 1; owner < 3; ++owner) {
      for (std::uint64_t source = 1; source < 3; ++source) {
        ASSERT_TRUE(tier.put(100 * owner + 10 * source + age, 20'000, [&](DiskTier::Value& value) {
          value.owner = owner;
          value.source = source;
          value.created_unix_ms = begin + static_cast<std::int64_t>(age) * 1000;
        }));
      }
    }
  }
  ASSERT_TRUE(tier.put(900, 100, [&](DiskTier::Value& value) { value.created_unix_ms = begin + 9000, value.parent = key_of(121); }));
  ASSERT_TRUE(tier.flush());
  const auto check = [&](const std::function<bool(std::uint64_t owner, std::uint64_t source, std::uint64_t age)>& gone) {
    for (std::uint64_t age = 0; age < 5; ++age) {
      for (std::uint64_t owner = 1; owner < 3; ++owner) {
        for (std::uint64_t source = 1; source < 3; ++source) {
          ASSERT_EQ(tier.has(100 * owner + 10 * source + age), !gone(owner, source, age)) << owner << ' ' << source << ' ' << age;
        }
      }
    }
  };
  EXPECT_EQ(tier->clear(Selected{1, 2, begin + 1000, {}}), 3u) << "ages 0 and 1, and what is chained behind one";
  const auto first = [](std::uint64_t owner, std::uint64_t source, std::uint64_t age) { return owner == 1 && source == 2 && age < 2; };
  check(first);
  EXPECT_FALSE(tier.has(900));
  EXPECT_EQ(tier->clear(Selected{{}, {}, begin + 2000, {}}), 10u);
  const auto second = [&](std::uint64_t, std::uint64_t, std::uint64_t age) { return age <= 2; };
  check(second);
  ASSERT_TRUE(tier.flush());
  tier.restart();
  check(second);
  EXPECT_EQ(tier->clear(Selected{2, 1, {}, {}}), 2u);
  const auto third = [&](std::uint64_t owner, std::uint64_t source, std::uint64_t age) { return age <= 2 || (owner == 2 && source == 1); };
  check(third);
  ASSERT_TRUE(tier.flush());
  for (std::uint64_t number : {110U, 121U, 122U, 213U, 900U}) {
    const auto part = value_bytes(number, 100);
    for (const auto& [path, bytes] : files->contents())
      EXPECT_EQ(std::search(bytes.begin(), bytes.end(), part.begin(), part.end()), bytes.end()) << number;
  }
  tier.restart();
  check(third);
  EXPECT_EQ(tier->clear(Selected{}), 6u);
  EXPECT_EQ(tier->stats().entries, 0u);
}

TEST(DiskSelection, AValueThatIsYoungerStaysBesideOlderOnes) {
  testing::TestTier tier(std::make_shared<testing::FaultFiles>(), small);
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.put(2, 1000, [](DiskTier::Value& value) { value.created_unix_ms += 10; }));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->clear(Selected{{}, {}, tier.now_ms() + 5, {}}), 1u);
  ASSERT_TRUE(tier.put(1, 1000)) << "as old, and stored later";
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(tier.has(1) && tier.has(2));
  tier.restart();
  EXPECT_TRUE(tier.has(1) && tier.has(2));
}

TEST(DiskSelection, TheListIsReadAsItWasWritten) {
  std::vector<Wipe> wipes(3);
  wipes[0].what = {7, {}, {}, {}};
  wipes[0].before = {3, 640};
  wipes[1].what = {{}, 9, -5, {}};
  wipes[1].chained = true;
  wipes[2].what.keys = {key_of(1), key_of(2), key_of(3)};
  std::sort(wipes[2].what.keys.begin(), wipes[2].what.keys.end());
  const auto bytes = encode_wipes(wipes);
  const auto read = decode_wipes(bytes);
  ASSERT_TRUE(read && read->size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE((*read)[i].what == wipes[i].what && (*read)[i].before == wipes[i].before && (*read)[i].chained == wipes[i].chained) << i;
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto damaged = bytes;
    damaged[i] ^= std::byte{16};
    EXPECT_FALSE(decode_wipes(damaged)) << i;
    EXPECT_FALSE(decode_wipes(std::span(bytes).first(i))) << i;
  }
}

}   // namespace
}   // namespace tensorcache::disk
