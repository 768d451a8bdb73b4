// What a user of the tier sees while nothing goes wrong.
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "disk/disk_testing.h"
#include "disk/survey.h"

namespace tensorcache::disk {
namespace {

TEST(DiskTier, WhatWasPutIsReadAlsoAfterAStop) {
  TestTier tier;
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(tier.put(i, 1000 * i));
  ASSERT_TRUE(tier.flush());
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 50; ++i) EXPECT_TRUE(tier.has(i)) << i;
    EXPECT_FALSE(tier.has(50));
    EXPECT_EQ(tier->stats().entries, 50u);
    tier.restart();
  }
  EXPECT_EQ(tier->stats().lost_bytes, 0u);
  EXPECT_TRUE(tier.events().empty()) << tier.events().front();
}

TEST(DiskTier, TheRecordTellsWhatTheValueIs) {
  TestTier tier;
  ASSERT_TRUE(tier.put(1, 10));
  ASSERT_TRUE(tier.put(2, 20, [&](DiskTier::Value& value) {
    value.kind = Kind::kAnswer;
    value.owner = 5;
    value.source = 6;
    value.parent = key_of(1);
    value.expires_unix_ms = tier.now_ms() + 1000;
  }));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  std::vector<std::byte> bytes(20);
  const Key key = key_of(2);
  const std::size_t read = tier->read(
      std::span(&key, 1),
      [&](std::size_t, const DiskTier::Found& found) {
        EXPECT_EQ(found.kind, Kind::kAnswer);
        EXPECT_EQ(found.owner, 5u);
        EXPECT_EQ(found.source, 6u);
        EXPECT_EQ(found.parent, key_of(1));
        return std::span(bytes);
      },
      [&](std::size_t, const RecordHeader& header) {
        EXPECT_EQ(header.created_unix_ms, tier.now_ms());
        EXPECT_EQ(header.expires_unix_ms, tier.now_ms() + 1000);
        return true;
      });
  EXPECT_EQ(read, 1u);
}

TEST(DiskTier, AChainIsReadWithFewReads) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files);
  std::vector<std::uint64_t> chain;
  for (std::uint64_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(i == 0 ? tier.put(i, 4000) : tier.put_behind(i - 1, i, 4000));
    chain.push_back(i);
  }
  ASSERT_TRUE(tier.flush());
  files->fail_call(FaultFiles::kRead, 0, 0);   // counts from here
  EXPECT_EQ(tier.read(chain), 40u);
  EXPECT_LE(files->calls(), 2u);
  chain.insert(chain.begin() + 20, 999);
  EXPECT_EQ(tier.read(chain), 20u) << "up to what is not stored";
}

TEST(DiskTier, TheBudgetHoldsAtEveryInstantAndOldValuesGoFirst) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  for (std::uint64_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(tier.put(i, 30'000));
    if (i % 10 == 0) {
      ASSERT_TRUE(tier.flush());
    }
  }
  ASSERT_TRUE(tier.flush());
  EXPECT_LE(files->peak_bytes(), 2u << 20);
  EXPECT_FALSE(tier.has(0));
  EXPECT_TRUE(tier.has(299));
  const DiskStats stats = tier->stats();
  EXPECT_EQ(stats.used_bytes, files->total_bytes());
  EXPECT_GT(stats.evictions, 0u);
  EXPECT_GT(stats.value_bytes, 1'200'000u) << "and it is used well";
  EXPECT_EQ(stats.dropped_puts, 0u);
}

TEST(DiskTier, WhatIsUsedIsWrittenAgain) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files, [](DiskTierOptions& options) {
    options.capacity_bytes = 2 << 20;
    options.in_memory = [](const Key& key) { return key == key_of(2); };
  });
  for (std::uint64_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(tier.put(i, 30'000));
    ASSERT_TRUE(tier.flush());
    ASSERT_TRUE(tier.has(1) || i < 1) << i;
  }
  EXPECT_TRUE(tier.has(2)) << "it was in use in memory all the time";
  EXPECT_FALSE(tier.has(3));
  EXPECT_GT(tier->stats().written_again, 0u);
  EXPECT_LE(files->peak_bytes(), 2u << 20);
  tier.restart();
  EXPECT_TRUE(tier.has(1));
  EXPECT_TRUE(tier.has(2));
}

TEST(DiskTier, ASharedPrefixOutlivesTheConversationsBehindIt) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  ASSERT_TRUE(tier.put(0, 20'000));
  ASSERT_TRUE(tier.put_behind(0, 1, 20'000));
  std::uint64_t last = 0;
  for (std::uint64_t conversation = 1; conversation < 60; ++conversation) {
    for (std::uint64_t block = 0; block < 5; ++block) {
      const std::uint64_t number = 1000 * conversation + block;
      ASSERT_TRUE(tier.put_behind(block == 0 ? 1 : number - 1, number, 20'000));
      last = number;
    }
    ASSERT_TRUE(tier.flush());
  }
  EXPECT_EQ(tier.read({0, 1, last - 4, last - 3, last - 2, last - 1, last}), 7u);
  EXPECT_FALSE(tier.has(1000));
  // Nothing that is left is unreachable.
  for (std::uint64_t conversation = 1; conversation < 60; ++conversation) {
    for (std::uint64_t block = 1; block < 5; ++block) {
      const std::uint64_t number = 1000 * conversation + block;
      EXPECT_TRUE(!tier->contains(key_of(number)) || tier->contains(key_of(number - 1))) << number;
    }
  }
  tier.restart();
  EXPECT_EQ(tier.read({0, 1, last - 4, last - 3, last - 2, last - 1, last}), 7u);
  EXPECT_LE(files->peak_bytes(), 2u << 20);
}

TEST(DiskTier, EverythingInUseStillMakesRoom) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files, [](DiskTierOptions& options) {
    options.capacity_bytes = 2 << 20;
    options.in_memory = [](const Key&) { return true; };
  });
  for (std::uint64_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(tier.put(i, 30'000));
    ASSERT_TRUE(tier.flush()) << i;
  }
  EXPECT_TRUE(tier.has(299));
  EXPECT_LE(files->peak_bytes(), 2u << 20);
}

TEST(DiskTier, AShrinkTakesEffectAndAGrowthToo) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  tier->resize(1 << 20);
  ASSERT_TRUE(tier.flush());
  for (int i = 0; i < 200 && files->total_bytes() > (1 << 20); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_LE(files->total_bytes(), 1u << 20);
  EXPECT_GT(tier->stats().entries, 0u);
  tier->resize(8 << 20);
  for (std::uint64_t i = 200; i < 300; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  for (std::uint64_t i = 200; i < 300; ++i) EXPECT_TRUE(tier.has(i));
}

TEST(DiskTier, WhatIsRemovedStaysRemoved) {
  TestTier tier;
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(i % 5 == 0 ? tier.put(i, 1000) : tier.put_behind(i - 1, i, 1000));
  ASSERT_TRUE(tier.put(10, 1000, [](DiskTier::Value& value) { value.owner = 8; }));
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(tier->remove(key_of(2)));
  EXPECT_FALSE(tier->remove(key_of(77)));
  EXPECT_EQ(tier->clear(8), 1u);
  const auto check = [&] {
    for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(tier.has(i), i < 2 || i >= 5) << i << ": what is behind a removed one goes too";
    EXPECT_FALSE(tier.has(10));
  };
  check();
  ASSERT_TRUE(tier.flush());
  tier.restart();
  check();
  ASSERT_TRUE(tier.put_behind(1, 2, 1000)) << "and may be put again";
  ASSERT_TRUE(tier.put(10, 1000, [](DiskTier::Value& value) { value.owner = 8; }));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  EXPECT_TRUE(tier.has(2));
  EXPECT_TRUE(tier.has(10));
}

TEST(DiskTier, ARemovalCountsForWhatStillWaitsToBeWritten) {
  TestTier tier;
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(tier.put(i, 50'000));
    tier->remove(key_of(i));
  }
  ASSERT_TRUE(tier.put(200, 1000));
  tier->clear(std::nullopt);
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->stats().entries, 0u);
  tier.restart();
  EXPECT_EQ(tier->stats().entries, 0u);
}

TEST(DiskTier, ClearingEverythingLeavesNoBytes) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(tier.put(i, 30'000));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->clear(std::nullopt), 100u);
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(files->total_bytes(), 0u);
  EXPECT_EQ(tier->stats().used_bytes, 0u);
  ASSERT_TRUE(tier.put(1, 10));
  ASSERT_TRUE(tier.flush());
  EXPECT_TRUE(tier.has(1));
}

TEST(DiskTier, SegmentsThatNothingPointsIntoGo) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(tier.put(i, 30'000, [](DiskTier::Value& value) { value.owner = 3; }));
  ASSERT_TRUE(tier.flush());
  EXPECT_EQ(tier->clear(3), 100u);
  ASSERT_TRUE(tier.flush());
  EXPECT_LT(files->total_bytes(), 512u << 10) << "at most the open segment";
}

TEST(DiskTier, ExpiredValuesAreNotServedWhateverTheClockDoes) {
  TestTier tier;
  const auto expiring = [&](std::uint64_t number) {
    ASSERT_TRUE(tier.put(number, 100, [&](DiskTier::Value& value) { value.expires_unix_ms = tier.now_ms() + 10'000; }));
    ASSERT_TRUE(tier.flush());
  };
  expiring(1);
  EXPECT_TRUE(tier.has(1));
  tier.now_ms() += 10'000;
  EXPECT_FALSE(tier.has(1));
  EXPECT_EQ(tier->stats().expirations, 1u);
  expiring(2);
  ASSERT_TRUE(tier.put(3, 100));
  ASSERT_TRUE(tier.flush());
  tier.now_ms() -= 86'400'000;   // nobody knows how old it is now
  EXPECT_FALSE(tier.has(2));
  EXPECT_TRUE(tier.has(3)) << "this one never expires";
  tier.restart();
  EXPECT_TRUE(tier.has(3));
}

TEST(DiskTier, TooLargeAndTooManyAreDroppedAndCounted) {
  TestTier tier(std::make_shared<FaultFiles>(), [](DiskTierOptions& options) { options.queue_bytes = 100'000; });
  EXPECT_FALSE(tier.put(1, 300'000)) << "larger than a segment";
  EXPECT_EQ(tier->stats().too_large_puts, 1u);
  int accepted = 0;
  for (std::uint64_t i = 0; i < 2000; ++i) accepted += tier.put(10 + i, 40'000);
  EXPECT_EQ(tier->stats().dropped_puts, 2000u - static_cast<std::uint64_t>(accepted));
  EXPECT_TRUE(tier.flush());
  EXPECT_EQ(tier->stats().queued_bytes, 0u);
}

TEST(DiskTier, SeveralValuesAtOnceAreOneWrite) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files, [](DiskTierOptions& options) { options.segment_bytes = 4 << 20, options.capacity_bytes = 64 << 20; });
  ASSERT_TRUE(tier.put(1, 10));
  ASSERT_TRUE(tier.flush());
  files->fail_call(FaultFiles::kWrite, 0, 0);
  for (std::uint64_t i = 10; i < 60; ++i) ASSERT_TRUE(tier.put(i, 10'000));
  ASSERT_TRUE(tier.flush());
  EXPECT_LE(files->calls(), 25u);
  const DiskStats stats = tier->stats();
  EXPECT_LT(static_cast<double>(stats.written_bytes), 1.1 * static_cast<double>(stats.accepted_bytes));
}

TEST(DiskTier, TheIndexAsksForItsMemory) {
  std::uint64_t charged = 0;
  TestTier tier(std::make_shared<FaultFiles>(), [&](DiskTierOptions& options) {
    options.charge = [&](std::uint64_t bytes) { return charged + bytes <= 300'000 && (charged += bytes, true); };
    options.give_back = [&](std::uint64_t bytes) { charged -= bytes; };
    options.capacity_bytes = 64 << 20;
  });
  for (std::uint64_t i = 0; i < 6000; ++i) ASSERT_TRUE(tier.put(i, 10));
  EXPECT_FALSE(tier.flush()) << "not all of it was kept";
  EXPECT_EQ(tier->stats().index_bytes, charged);
  EXPECT_GT(tier->stats().index_full, 0u);
  EXPECT_TRUE(tier.has(0));
  tier.stop();
  EXPECT_EQ(charged, 0u);
}

TEST(DiskTier, APurgeLeavesNoByteOfIt) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files);
  for (std::uint64_t i = 0; i < 60; ++i) ASSERT_TRUE(i % 3 == 2 ? tier.put_behind(i - 1, i, 20'000) : tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  const std::uint64_t before = files->total_bytes();
  const std::vector<Key> keys{key_of(4), key_of(30), key_of(31)};   // 5 hangs behind 4, 32 behind 31
  EXPECT_EQ(tier->purge(keys), 5u);
  ASSERT_TRUE(tier.flush());
  EXPECT_LT(files->total_bytes(), before - 5 * 20'000);
  const auto gone = [](std::uint64_t i) { return i == 4 || i == 5 || (i >= 30 && i <= 32); };
  for (const auto& [path, bytes] : files->contents()) {
    for (std::uint64_t i = 0; i < 60; ++i) {
      const auto value = value_of(i, 64);
      const bool found = std::search(bytes.begin(), bytes.end(), value.begin(), value.end()) != bytes.end();
      EXPECT_FALSE(found && gone(i)) << i << " in " << path;
    }
  }
  tier.restart();
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(tier.has(i), !gone(i)) << i;
}

TEST(DiskTier, APurgeBesideARemovalUndoesNoRemoval) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files);
  for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  tier->remove(key_of(3));
  ASSERT_TRUE(tier.flush());
  for (std::uint64_t i = 30; i < 60; ++i) ASSERT_TRUE(tier.put(i, 20'000));
  ASSERT_TRUE(tier.flush());
  std::vector<Key> keys;
  for (std::uint64_t i = 20; i < 40; ++i) keys.push_back(key_of(i));
  EXPECT_EQ(tier->purge(keys), 20u);
  ASSERT_TRUE(tier.flush());
  tier.restart();
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(tier.has(i), i != 3 && (i < 20 || i >= 40)) << i;
  for (const auto& [path, bytes] : files->contents()) {
    for (std::uint64_t i = 20; i < 40; ++i) {
      const auto value = value_of(i, 64);
      EXPECT_EQ(std::search(bytes.begin(), bytes.end(), value.begin(), value.end()), bytes.end()) << i << " in " << path;
    }
  }
}

TEST(DiskTier, WhatIsRemovedWhileItRecoversStaysRemoved) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 2 << 20; });
  // Parents that were written again, so that their children come before them.
  ASSERT_TRUE(tier.put(0, 20'000));
  for (std::uint64_t i = 1; i < 200; ++i) {
    ASSERT_TRUE(tier.put_behind(i % 8 == 0 ? 0 : i - 1, i, 20'000));
    ASSERT_TRUE(tier.flush());
  }
  ASSERT_GT(tier->stats().written_again, 0u);
  tier.stop();
  for (int round = 0; round < 6; ++round) {
    files->set_read_delay(std::chrono::milliseconds(3));
    DiskTier recovering(tier.options());
    for (std::uint64_t i = 199; i > 150; i -= 7) {
      recovering.remove(key_of(i));
      std::this_thread::sleep_for(std::chrono::milliseconds(round));
    }
    if (round == 5) recovering.clear(0);
    ASSERT_TRUE(recovering.wait_ready(std::chrono::seconds(20)));
    files->set_read_delay(std::chrono::milliseconds(0));
    for (std::uint64_t i = 199; i > 150; i -= 7) EXPECT_FALSE(recovering.contains(key_of(i))) << i;
    ASSERT_TRUE(recovering.flush(std::chrono::seconds(20)));
  }
  tier.start();
  EXPECT_EQ(tier->stats().entries, 0u);
}

TEST(DiskTier, AValueThatLostItsEntryCanStillBeRemoved) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files);
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  files->fail_call(FaultFiles::kRead, 1, EIO);
  EXPECT_FALSE(tier.has(1));
  tier->remove(key_of(1));
  ASSERT_TRUE(tier.flush());
  tier.restart();
  EXPECT_FALSE(tier.has(1));
}

TEST(DiskTier, RestartsDoNotPileUpSegments) {
  TestTier tier;
  for (std::uint64_t i = 0; i < 30; ++i) {
    ASSERT_TRUE(tier.put(i, 3000));
    ASSERT_TRUE(tier.flush());
    tier.restart();
  }
  for (std::uint64_t i = 0; i < 30; ++i) EXPECT_TRUE(tier.has(i)) << i;
  EXPECT_LE(tier->stats().segments, 2u);
}

TEST(DiskTier, NamesAndHitsAreKept) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files);
  tier->name_owner(7, "alice");
  tier->name_source(9, "a model\nwith a line");
  ASSERT_TRUE(tier.put(1, 100));
  ASSERT_TRUE(tier.put(2, 100));
  ASSERT_TRUE(tier.flush());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(tier.has(1));
  tier.stop();
  Survey found;
  ASSERT_EQ(survey(*files, "cache", &found), 0);
  EXPECT_EQ(found.names.owners.at(7), "alice");
  EXPECT_EQ(found.names.sources.at(9), "a model?with a line");
  EXPECT_EQ(found.usage.at(key_of(1)), 3u);
  EXPECT_FALSE(found.usage.contains(key_of(2)));
  tier.start();
  EXPECT_TRUE(tier.has(1));
  tier.stop();
  EXPECT_EQ(read_usage(*files, "cache").at(key_of(1)), 4u);
  auto contents = files->contents();
  contents.at("cache/usage")[20] ^= std::byte{1};
  files->set_contents(contents);
  EXPECT_TRUE(read_usage(*files, "cache").empty()) << "damaged: as if it were not there";
  tier.start();
  EXPECT_TRUE(tier.has(1));
}

TEST(DiskTier, ASurveySeesWhatAServerWouldServe) {
  const auto files = std::make_shared<FaultFiles>();
  TestTier tier(files);
  for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(i % 5 == 0 ? tier.put(i, 9000) : tier.put_behind(i - 1, i, 9000));
  ASSERT_TRUE(tier.flush());
  tier->remove(key_of(12));
  ASSERT_TRUE(tier.flush());
  const auto check = [&](std::uint64_t bad) {
    Survey found;
    ASSERT_EQ(survey(*files, "cache", &found), 0);
    for (std::uint64_t i = 0; i < 30; ++i) EXPECT_EQ(found.entries.contains(key_of(i)), i < 12 || i > 14) << i;
    float share = 0;
    const Verdict verdict = verify(*files, "cache", found, [&](float now) { share = now; });
    EXPECT_EQ(verdict.values, 27 - bad);
    EXPECT_EQ(verdict.bad.size(), bad);
    EXPECT_FLOAT_EQ(share, 1);
  };
  check(0);   // while it is open
  tier.stop();
  check(0);
  auto contents = files->contents();
  contents.at("cache/" + segment_name(1))[5000] ^= std::byte{4};
  files->set_contents(contents);
  check(1);
}

TEST(DiskTier, AnOldVersionsFilesAreReadable) {
  // Written by `TENSORCACHE_WRITE_GOLDEN=DIR disk_test` when the format was frozen; never to be written again for this version.
  const auto build = [](TestTier& tier) {
    for (std::uint64_t i = 0; i < 8; ++i) {
      ASSERT_TRUE(tier.put(i, 10 + 700 * i, [&](DiskTier::Value& value) {
        value.kind = static_cast<Kind>(i % 4);
        value.owner = i / 4;
        value.source = 3;
        if (i % 4 != 0) value.parent = key_of(i - 1);
        if (i == 7) value.expires_unix_ms = tier.now_ms() + 1000;
      }));
    }
    ASSERT_TRUE(tier.flush());
    tier->remove(key_of(2));   // and 3, which is behind it
    ASSERT_TRUE(tier.flush());
  };
  const auto files = std::make_shared<FaultFiles>();
  const std::string name = segment_name(1);
  if (const char* const folder = std::getenv("TENSORCACHE_WRITE_GOLDEN")) {
    TestTier tier(files);
    build(tier);
    tier.stop();
    const auto bytes = files->contents().at("cache/" + name);
    std::ofstream(std::string(folder) + "/golden-v1.tcs", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  std::ifstream file(TENSORCACHE_GOLDEN_DIR "/golden-v1.tcs", std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  ASSERT_FALSE(text.empty());
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  for (const bool summary : {true, false}) {
    files->set_contents({{"cache/" + name, bytes}});
    TestTier tier(files);
    for (std::uint64_t i = 0; i < 8; ++i) EXPECT_EQ(tier.has(i), i != 2 && i != 3) << i << (summary ? "" : ", walked");
    EXPECT_EQ(tier->stats().lost_bytes, 0u);
    tier.now_ms() += 2000;
    EXPECT_FALSE(tier.has(7));
    bytes.resize(bytes.size() - 64);   // the footer, and with it the summary: its entries are no records
    if (summary) {
      bytes.resize(bytes.size() - 9 * kSummaryEntryBytes);
    }
  }
}

TEST(DiskTierFiles, BelongToTheirOwnerAndOneProcess) {
  const std::string directory = testing::TempDir() + "disk-tier-" + std::to_string(::getpid());
  std::filesystem::remove_all(directory);
  TestTier tier(real_file_system(), {}, directory + "/deep/er");
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(directory + "/deep/er").permissions(), perms::owner_all);
  for (const auto& entry : std::filesystem::directory_iterator(directory + "/deep/er")) {
    EXPECT_EQ(entry.status().permissions(), perms::owner_read | perms::owner_write) << entry.path();
  }
  try {
    TestTier second(real_file_system(), {}, directory + "/deep/er");
    ADD_FAILURE() << "two at once";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("another process uses it"), std::string::npos) << error.what();
  }
  tier.restart();
  EXPECT_TRUE(tier.has(1));
  // A link that somebody planted where the next segment will be.
  tier.stop();
  const std::string target = directory + "/precious";
  std::filesystem::create_symlink(target, directory + "/deep/er/" + segment_name(2));
  std::filesystem::create_symlink(target, directory + "/deep/er/" + segment_name(3));
  tier.start();
  ASSERT_TRUE(tier.put(2, 1000));
  static_cast<void>(tier.flush());
  EXPECT_FALSE(std::filesystem::exists(target));
  EXPECT_TRUE(tier.has(1));
  tier.stop();
  std::filesystem::remove_all(directory);
}

TEST(DiskTierFiles, ADirectoryThatCannotBeIsNamed) {
  try {
    TestTier tier(real_file_system(), {}, "/dev/null/cache");
    ADD_FAILURE();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("/dev/null/cache"), std::string::npos) << error.what();
  }
}

}   // namespace
}   // namespace tensorcache::disk
