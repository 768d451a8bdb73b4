#include "serving/model/file_digest.h"
#include "testing/core/eventually.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace tensorcache::model {
namespace {

class FileDigest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("tensorcache_digest_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const char* name) const { return folder_ / name; }
  void write(const char* name, std::string_view text) const { std::ofstream(path(name), std::ios::binary) << text; }
  std::filesystem::path folder_;
};

TEST_F(FileDigest, IsTheSha256OfTheBytes) {
  write("f", "abc");
  EXPECT_EQ(file_digest(path("f"), "").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(FileDigest, AMemoIsUsedUntilTheFileChanges) {
  write("f", "abc");
  const Key first = file_digest(path("f"), path("memo"));
  // A memo that claims something else shows that it, and not the file, was read.
  std::string line;
  std::getline(std::ifstream(path("memo")), line);
  const Key claimed = Key::of("claimed");
  std::ofstream(path("memo")) << claimed.hex() + line.substr(64) << '\n';
  EXPECT_EQ(file_digest(path("f"), path("memo")), claimed);

  write("f", "abcd");
  EXPECT_EQ(file_digest(path("f"), path("memo")), Key::of("abcd"));
  EXPECT_NE(first, Key::of("abcd"));
}

TEST_F(FileDigest, OtherBytesUnderTheOldTimeAreNoticed) {
  write("f", "abc");
  const auto time = std::filesystem::last_write_time(path("f"));
  EXPECT_EQ(file_digest(path("f"), path("memo")), Key::of("abc"));
  const auto clock_moved = [&] {   // file systems' clocks are coarse
    write("probe", "x");
    return std::filesystem::last_write_time(path("probe")) > time;
  };
  ASSERT_TRUE(testing::eventually(clock_moved));
  write("f", "xyz");
  std::filesystem::last_write_time(path("f"), time);
  EXPECT_EQ(file_digest(path("f"), path("memo")), Key::of("xyz"));
}

TEST_F(FileDigest, ADamagedOrUnwritableMemoOnlyCostsTheReading) {
  write("f", "abc");
  write("memo", "not a digest at all\n\n\x01\x02");
  EXPECT_EQ(file_digest(path("f"), path("memo")), Key::of("abc"));
  EXPECT_EQ(file_digest(path("f"), path("f") + "/no/such/place"), Key::of("abc"));
}

TEST_F(FileDigest, AMissingFileIsNamed) {
  try {
    (void)file_digest(path("none"), "");
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("none: No such file"), std::string::npos) << error.what();
  }
}

}   // namespace
}   // namespace tensorcache::model
