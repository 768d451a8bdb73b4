// No byte of what was deleted is left in any file, whatever happened to it before and whatever
// happens meanwhile.
#include <algorithm>
#include <cerrno>
#include <functional>

#include "testing/store/disk.h"
#include "store/disk/directory_scan.h"
#include "testing/core/eventually.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

const std::string kPlanted = "PLANTED-TEXT-OF-WHAT-IS-DELETED.";

using Contents = std::map<std::string, std::vector<std::byte>>;

std::uint64_t planted_in(const Contents& contents) {
  const auto text = std::as_bytes(std::span(kPlanted));
  std::uint64_t found = 0;
  for (const auto& [path, bytes] : contents) {
    for (auto at = bytes.begin(); (at = std::search(at, bytes.end(), text.begin(), text.end())) != bytes.end(); ++at) ++found;
  }
  return found;
}

// A value that holds nothing but the planted text.
bool plant(testing::TestTier& tier, std::uint64_t number, std::size_t size, const std::function<void(DiskTier::Value&)>& change = {}) {
  auto bytes = std::make_shared<std::vector<std::byte>>(size);
  const auto text = std::as_bytes(std::span(kPlanted));
  for (std::size_t i = 0; i < size; ++i) (*bytes)[i] = text[i % text.size()];
  return tier.put(number, 1, [&](DiskTier::Value& value) {
    value.bytes = *bytes;
    value.holder = bytes;
    value.owner = 5;
    value.source = 9;
    if (change) change(value);
  });
}

bool stored(testing::TestTier& tier, std::uint64_t number) { return tier->read_head(key_of(number), {}).has_value(); }

constexpr std::uint64_t kOthers = 40, kLive = 100, kReplaced = 200, kRemoved = 300, kChild = 400, kEach = 8;

void small(DiskTierOptions& options) {
  options.capacity_bytes = 4 << 20;
  options.segment_bytes = 128 << 10;
  options.sync = DiskSync::kRecord;
}

// Of owner 5: live values, replaced ones, removed ones, with a child of another owner each; among
// values of others. In sealed segments, and the last ones in the open one.
void fill(testing::TestTier& tier) {
  for (std::uint64_t i = 0; i < kEach; ++i) {
    ASSERT_TRUE(plant(tier, kLive + i, 9000));
    ASSERT_TRUE(plant(tier, kReplaced + i, 7000));
    ASSERT_TRUE(plant(tier, kRemoved + i, 5000));
    ASSERT_TRUE(plant(tier, kChild + i, 300, [&](DiskTier::Value& value) {
      value.owner = 6;
      value.parent = key_of(kLive + i);
    }));
    ASSERT_TRUE(tier.flush());
    tier->remove(key_of(kRemoved + i));
    tier->remove(key_of(kReplaced + i));
    ASSERT_TRUE(plant(tier, kReplaced + i, 6000));
    for (std::uint64_t each = 0; each < kOthers / kEach; ++each) ASSERT_TRUE(tier.put(i * kOthers / kEach + each, 5000));
    ASSERT_TRUE(tier.flush());
  }
}

void expect_others(testing::TestTier& tier, const std::string& where = {}) {
  for (std::uint64_t i = 0; i < kOthers; ++i) ASSERT_TRUE(tier.has(i)) << i << where;
}

// All or none of what is live is there; the first case only if the removal was not logged.
bool expect_all_or_none(testing::TestTier& tier, const std::string& where) {
  std::uint64_t there = 0;
  for (std::uint64_t i = 0; i < kEach; ++i) there += stored(tier, kLive + i) + stored(tier, kReplaced + i) + stored(tier, kChild + i);
  EXPECT_TRUE(there == 0 || there == 3 * kEach) << there << where;
  for (std::uint64_t i = 0; i < kEach; ++i) EXPECT_FALSE(stored(tier, kRemoved + i)) << where;
  return there == 0;
}

Selected of_owner() { return {5, {}, {}, {}}; }
Selected of_source() { return {{}, 9, {}, {}}; }
Selected of_age(const testing::TestTier&) { return {{}, 9, 1'700'000'000'000, {}}; }

TEST(DiskScrub, NothingIsLeftOfWhatAnOwnerHasAndHad) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, small);
  fill(tier);
  ASSERT_GT(planted_in(files->contents()), 1000u);
  EXPECT_EQ(tier->clear(5), 3 * kEach);
  EXPECT_TRUE(expect_all_or_none(tier, ""));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(planted_in(files->contents()), 0u);
  EXPECT_EQ(tier->stats().pending_wipes, 0u);
  EXPECT_FALSE(files->exists("cache/wiping"));
  expect_others(tier);
  tier.restart();
  expect_others(tier);
  EXPECT_TRUE(expect_all_or_none(tier, ""));
  ASSERT_TRUE(plant(tier, kLive, 9000));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  EXPECT_TRUE(stored(tier, kLive)) << "what is stored later stays";
}

TEST(DiskScrub, NothingIsLeftAfterARestartBetween) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, small);
  fill(tier);
  tier.restart();
  EXPECT_EQ(tier->clear(of_source()), 3 * kEach);
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(planted_in(files->contents()), 0u);
  expect_others(tier);
}

TEST(DiskScrub, NothingIsLeftOfWhatWasWrittenAgainOrWaited) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) {
    options.capacity_bytes = 1 << 20;
    options.segment_bytes = 128 << 10;
    options.in_memory = [](const Key&) { return true; };   // evictions write again what fits
  });
  for (std::uint64_t i = 0; i < 60; ++i) {
    ASSERT_TRUE(plant(tier, 1000 + i, 3000));
    for (std::uint64_t each = 0; each < 5; ++each) ASSERT_TRUE(tier.put(2000 + 5 * i + each, 5000));
    ASSERT_TRUE(tier.flush());
  }
  EXPECT_GT(tier->stats().written_again, 0u);
  files->set_write_delay(std::chrono::milliseconds(5));
  for (std::uint64_t i = 0; i < 40; ++i) ASSERT_TRUE(plant(tier, 1100 + i, 3000));
  tier->clear(5);
  files->set_write_delay(std::chrono::milliseconds(0));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(planted_in(files->contents()), 0u);
}

TEST(DiskScrub, APurgeLeavesNothingOfEarlierVersions) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, small);
  fill(tier);
  std::vector<Key> keys;
  for (const std::uint64_t begin : {kLive, kReplaced, kRemoved, kChild}) {
    for (std::uint64_t i = 0; i < kEach; ++i) keys.push_back(key_of(begin + i));
  }
  EXPECT_EQ(tier->purge(keys), 3 * kEach);
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(planted_in(files->contents()), 0u);
  expect_others(tier);
  tier.restart();
  expect_others(tier);
}

// In the log that is filled further, and in segments that end with a summary.
TEST(DiskScrub, NothingIsLeftBehindHeadersThatWereDamaged) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, small);
  fill(tier);
  Contents contents = files->contents();
  tier.stop();
  const auto text = std::as_bytes(std::span(kPlanted));
  int damaged = 0;
  for (auto& [path, bytes] : contents) {
    const auto at = std::search(bytes.begin(), bytes.end(), text.begin(), text.end());
    if (at == bytes.end()) continue;
    *(at - kRecordHeaderBytes + 40) ^= std::byte{1};
    ++damaged;
  }
  ASSERT_GT(damaged, 2);
  files->set_contents(contents);
  tier.start();
  tier->clear(5);
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(planted_in(files->contents()), 0u);
  expect_others(tier);
}

// As after kill -9 at each system call, and after a power cut there.
TEST(DiskScrub, WhateverCallIsTheLastOneTheNextStartFinishes) {
  std::uint64_t logged = 0, not_logged = 0, cuts = 0;
  for (const int way : {0, 1, 2, 3}) {
    bool failed = true;
    for (std::uint64_t n = 1; failed; n += 1 + n / 15) {
      const std::string where = ", way " + std::to_string(way) + ", call " + std::to_string(n);
      const auto files = std::make_shared<testing::FaultFiles>();
      testing::TestTier tier(files, small);
      fill(tier);
      files->fail_call(testing::FaultFiles::kAny, n, EIO, true);
      std::vector<Key> keys;
      for (std::uint64_t i = 0; i < kEach; ++i) keys.insert(keys.end(), {key_of(kLive + i), key_of(kReplaced + i), key_of(kRemoved + i)});
      if (way == 3) {
        tier->purge(keys);
      } else {
        tier->clear(way == 0 ? of_owner() : way == 1 ? of_source() : of_age(tier));
      }
      const bool flushed = tier.flush();
      const Contents contents = files->contents();
      const auto cut = files->after_power_cut(n);
      failed = files->faults() > 0;
      ASSERT_TRUE(failed || flushed) << where;
      const bool is_logged = contents.contains("cache/wiping");
      if (flushed) {
        ASSERT_EQ(planted_in(contents), 0u) << where;
      }
      for (const bool power : {false, true}) {
        const auto left = power ? cut : std::make_shared<testing::FaultFiles>();
        if (!power) left->set_contents(contents);
        testing::TestTier next(left, small);
        ASSERT_TRUE(next.flush()) << where;
        const bool none = expect_all_or_none(next, where);
        ASSERT_TRUE(none || (!flushed && (power || !is_logged))) << where;
        if (none) {
          ASSERT_EQ(planted_in(left->contents()), 0u) << where;
        }
        if (!power) expect_others(next, where);
        (power ? cuts : is_logged ? logged : not_logged) += 1;
        next.restart();
        ASSERT_EQ(expect_all_or_none(next, where), none) << where;
        if (HasFailure()) return;
      }
      tier.stop();
    }
  }
  EXPECT_GT(logged, 20u);
  EXPECT_GT(not_logged, 5u);
  EXPECT_GT(cuts, 20u);
}

TEST(DiskScrub, EverythingGoesOrNothingWhateverCallIsTheLastOne) {
  bool failed = true;
  for (std::uint64_t n = 1; failed; ++n) {
    const auto files = std::make_shared<testing::FaultFiles>();
    testing::TestTier tier(files, small);
    fill(tier);
    files->fail_call(testing::FaultFiles::kAny, n, EIO, true);
    tier->clear(std::nullopt);
    static_cast<void>(tier.flush());
    failed = files->faults() > 0;
    const auto left = std::make_shared<testing::FaultFiles>();
    left->set_contents(files->contents());
    testing::TestTier next(left, small);
    ASSERT_TRUE(next.flush());
    std::uint64_t there = 0;
    for (std::uint64_t i = 0; i < kOthers; ++i) there += next.has(i);
    ASSERT_TRUE(there == 0 || there == kOthers) << n;
    ASSERT_EQ(expect_all_or_none(next, std::to_string(n)), there == 0);
    if (there == 0) {
      ASSERT_EQ(planted_in(left->contents()), 0u) << n;
    }
    tier.stop();
  }
}

TEST(DiskScrub, ADiskThatFailsForAWhileIsTriedAgain) {
  for (const unsigned calls : {unsigned{testing::FaultFiles::kWrite}, unsigned{testing::FaultFiles::kSync}, unsigned{testing::FaultFiles::kRead},
                               unsigned{testing::FaultFiles::kAny}}) {
    for (std::uint64_t n = 1; n < 60; n += 1 + n / 8) {
      const auto files = std::make_shared<testing::FaultFiles>();
      testing::TestTier tier(files, small);
      fill(tier);
      files->fail_call(calls, n, EIO);
      tier->clear(of_source());
      if (tier.flush()) {
        ASSERT_EQ(planted_in(files->contents()), 0u) << calls << ' ' << n;
      }
      files->fail_nothing();
      ASSERT_TRUE(tier.healed());
      ASSERT_TRUE(tier.flush()) << calls << ' ' << n;
      ASSERT_EQ(planted_in(files->contents()), 0u) << calls << ' ' << n;
    }
  }
}

TEST(DiskScrub, WhatIsNotDoneAtTheEndGoesOnAtTheNextStart) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) {
    options.capacity_bytes = 64 << 20;
    options.segment_bytes = 8 << 20;
  });
  for (std::uint64_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(plant(tier, i, i == 3 ? 5'000'000 : 200'000));
    ASSERT_TRUE(tier.put(100 + i, 1000));   // or the segment would go as a whole
  }
  ASSERT_TRUE(tier.flush());
  const auto planted = planted_in(files->contents());
  files->set_write_delay(std::chrono::milliseconds(50));
  EXPECT_EQ(tier->clear(5), 20u);
  ASSERT_TRUE(eventually([&] { return planted_in(files->contents()) < planted; })) << "it begins";
  EXPECT_TRUE(tier->close(std::chrono::milliseconds(50))) << "nothing comes back";
  tier.stop();
  EXPECT_GT(planted_in(files->contents()), 0u) << "or it was too fast to be a test";
  files->set_write_delay(std::chrono::milliseconds(0));
  DirectoryScan survey_of;
  ASSERT_EQ(scan_directory(*files, "cache", &survey_of), 0);
  EXPECT_EQ(survey_of.entries.size(), 20u) << "what is deleted is not listed either";
  tier.start();
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_FALSE(stored(tier, i)) << i;
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(planted_in(files->contents()), 0u);
  EXPECT_TRUE(tier.has(100));
}

// While it goes on, the log goes on too.
TEST(DiskScrub, OthersAreWrittenMeanwhile) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, [](DiskTierOptions& options) {
    options.capacity_bytes = 256 << 20;
    options.segment_bytes = 32 << 20;
  });
  for (std::uint64_t i = 0; i < 30; ++i) {
    ASSERT_TRUE(plant(tier, i, 1'000'000));
    ASSERT_TRUE(tier.flush());
  }
  files->set_write_delay(std::chrono::milliseconds(2));
  EXPECT_EQ(tier->clear(5), 30u);
  bool meanwhile = false;
  for (std::uint64_t i = 100; i < 200 && !meanwhile; ++i) {
    ASSERT_TRUE(tier.put(i, 1000));
    ASSERT_TRUE(eventually([&] { return tier->contains(key_of(i)); }));
    meanwhile = tier->stats().pending_wipes > 0;
  }
  EXPECT_TRUE(meanwhile);
  files->set_write_delay(std::chrono::milliseconds(0));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(planted_in(files->contents()), 0u);
}

TEST(DiskScrub, ADamagedListDropsTheLog) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files, small);
  fill(tier);
  tier.stop();
  Contents contents = files->contents();
  contents["cache/wiping"] = encode_wipes({{of_owner(), {1, 500}}});
  contents["cache/wiping"][20] ^= std::byte{1};
  files->set_contents(contents);
  tier.start();
  EXPECT_EQ(tier->stats().entries, 0u);
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(planted_in(files->contents()), 0u);
}

}   // namespace
}   // namespace tensorcache::disk
