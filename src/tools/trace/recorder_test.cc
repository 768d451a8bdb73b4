#include "tools/trace/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "testing/core/values.h"
#include "tools/trace/lines.h"
#include "tools/trace/mooncake.h"

namespace tensorcache::trace {
namespace {

using tensorcache::testing::key_of;
using ::testing::HasSubstr;

class RecorderTest : public ::testing::Test {
 protected:
  ~RecorderTest() override {
    for (const char* end : {"", ".key"}) std::remove((path_ + end).c_str());
  }
  [[nodiscard]] std::vector<Request> recorded() const {
    std::vector<Request> requests;
    Lines lines(path_);
    for (std::string line; lines.next(line);) requests.push_back(parse_mooncake(line));
    return requests;
  }
  const std::string path_ = ::testing::TempDir() + "recorder-" + std::to_string(getpid());
  const std::vector<Key> blocks_{key_of(1), key_of(2), key_of(3)};
};

TEST_F(RecorderTest, WhatIsRecordedIsATraceThatGoesOnAfterARestart) {
  Recorder(path_).add(blocks_, 100, 7);
  Recorder(path_).add(std::span(blocks_).first(2), 70, 0);
  const auto requests = recorded();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].input_tokens, 100u);
  EXPECT_EQ(requests[0].output_tokens, 7u);
  ASSERT_EQ(requests[0].blocks.size(), 3u);
  EXPECT_EQ(requests[1].blocks, std::vector(requests[0].blocks.begin(), requests[0].blocks.begin() + 2)) << "equal blocks are equal after a restart";
  struct stat status{};
  ASSERT_EQ(stat((path_ + ".key").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(RecorderTest, AnotherSecretGivesOtherDigests) {
  Recorder(path_).add(blocks_, 100, 7);
  std::remove((path_ + ".key").c_str());
  Recorder(path_).add(blocks_, 100, 7);
  EXPECT_NE(recorded()[0].blocks, recorded()[1].blocks);
}

TEST_F(RecorderTest, WhatCannotBeUsedIsNamed) {
  const auto error_of = [](const std::string& path) -> std::string {
    try {
      const Recorder recorder(path);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(error_of("/no/such/folder/x"), HasSubstr("/no/such/folder/x.key: No such file"));
  std::ofstream(path_ + ".key") << "short";
  EXPECT_THAT(error_of(path_), HasSubstr(".key: Invalid argument"));
}

TEST(Recorder, APlantedLinkIsNotFollowed) {
  const std::string path = ::testing::TempDir() + "recorder-full-" + std::to_string(getpid());
  ASSERT_EQ(symlink("/dev/full", path.c_str()), 0);
  EXPECT_THROW(Recorder{path}, std::runtime_error);
  std::remove(path.c_str());
  std::remove((path + ".key").c_str());
}

}   // namespace
}   // namespace tensorcache::trace
