// What a directory holds: seen from outside, kept beside the segments, written by older versions,
// and whose it is.
#include <filesystem>
#include <fstream>

#include "testing/store/disk.h"
#include "store/disk/directory_scan.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

TEST(DiskDirectory, NamesAndHitsAreKept) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  tier->name_owner(7, "alice");
  tier->name_source(9, "a model\nwith a line");
  ASSERT_TRUE(tier.put(1, 100));
  ASSERT_TRUE(tier.put(2, 100));
  ASSERT_TRUE(tier.flush());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(tier.has(1));
  tier.stop();
  DirectoryScan found;
  ASSERT_EQ(scan_directory(*files, "cache", &found), 0);
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

TEST(DiskDirectory, ASurveySeesWhatAServerWouldServe) {
  const auto files = std::make_shared<testing::FaultFiles>();
  testing::TestTier tier(files);
  for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(i % 5 == 0 ? tier.put(i, 9000) : tier.put_behind(i - 1, i, 9000));
  ASSERT_TRUE(tier.flush());
  tier->remove(key_of(12));
  ASSERT_TRUE(tier.flush());
  const auto check = [&](std::uint64_t bad) {
    DirectoryScan found;
    ASSERT_EQ(scan_directory(*files, "cache", &found), 0);
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

TEST(DiskDirectory, AnOldVersionsFilesAreReadable) {
  // Written by `TENSORCACHE_WRITE_GOLDEN=DIR disk_test` when the format was frozen; never to be
  // written again for this version.
  const auto build = [](testing::TestTier& tier) {
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
  const auto files = std::make_shared<testing::FaultFiles>();
  const std::string name = segment_name(1);
  if (const char* const folder = std::getenv("TENSORCACHE_WRITE_GOLDEN")) {
    testing::TestTier tier(files);
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
    testing::TestTier tier(files);
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

TEST(DiskDirectory, BelongToTheirOwnerAndOneProcess) {
  const std::string directory = ::testing::TempDir() + "disk-tier-" + std::to_string(::getpid());
  std::filesystem::remove_all(directory);
  testing::TestTier tier(file::real_file_system(), {}, directory + "/deep/er");
  ASSERT_TRUE(tier.put(1, 1000));
  ASSERT_TRUE(tier.flush());
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(directory + "/deep/er").permissions(), perms::owner_all);
  for (const auto& entry : std::filesystem::directory_iterator(directory + "/deep/er")) {
    EXPECT_EQ(entry.status().permissions(), perms::owner_read | perms::owner_write) << entry.path();
  }
  try {
    testing::TestTier second(file::real_file_system(), {}, directory + "/deep/er");
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

TEST(DiskDirectory, ADirectoryThatCannotBeIsNamed) {
  try {
    testing::TestTier tier(file::real_file_system(), {}, "/dev/null/cache");
    ADD_FAILURE();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("/dev/null/cache"), std::string::npos) << error.what();
  }
}

}   // namespace
}   // namespace tensorcache::disk
