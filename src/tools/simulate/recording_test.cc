#include "tools/simulate/recording.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <fstream>

namespace tensorcache::simulate {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RecordingTest : public ::testing::Test {
 protected:
  ~RecordingTest() override { std::remove(path_.c_str()); }
  ReadResult read(const std::string& text, const ReadOptions& options = {}) {
    std::ofstream(path_, std::ios::binary) << text;
    ReadOptions all = options;
    all.path = path_;
    return read_recording(all);
  }
  std::string error_of(const std::string& text, const ReadOptions& options = {}) {
    try {
      static_cast<void>(read(text, options));
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }
  const std::string path_ = ::testing::TempDir() + "recording-" + std::to_string(getpid());
};

constexpr const char* kMooncake =
    R"({"timestamp":0,"input_length":1000,"output_length":5,"hash_ids":[7,8]}
{"timestamp":3,"input_length":1500,"output_length":5,"hash_ids":[7,8,900000000000]}
)";

TEST_F(RecordingTest, ReadsBlocksAsDenseNumbers) {
  const ReadResult read = this->read(kMooncake);
  const Recording& recording = read.recording;
  EXPECT_EQ(read.format, Format::kMooncake);
  ASSERT_EQ(recording.steps().size(), 2u);
  EXPECT_THAT(recording.blocks(recording.steps()[0]), ElementsAre(0, 1));
  EXPECT_THAT(recording.blocks(recording.steps()[1]), ElementsAre(0, 1, 2));
  EXPECT_EQ(recording.steps()[1].input_tokens, 1500u);
  EXPECT_EQ(recording.distinct(), 3u);
  EXPECT_TRUE(recording.chained());
}

TEST_F(RecordingTest, ReadsKeysAndSizes) {
  const ReadResult keys = read("one\ntwo\r\n\none\n");
  EXPECT_THAT(keys.recording.blocks(), ElementsAre(0, 1, 0));
  EXPECT_FALSE(keys.recording.chained());
  const ReadResult sized = read("key,size\nfirst, with a comma,100\nb,5\nb,9\n");
  EXPECT_THAT(sized.recording.blocks(), ElementsAre(0, 1, 1));
  EXPECT_THAT(sized.recording.bytes(), ElementsAre(100, 5)) << "a key's first size counts";
  EXPECT_EQ(sized.recording.distinct_bytes(), 105u);
}

TEST_F(RecordingTest, ErrorsNameFileAndLine) {
  EXPECT_EQ(error_of(std::string(kMooncake) + "{\"timestamp\":\n"), path_ + ":3: is not a JSON object");
  EXPECT_THAT(error_of("{\"timestamp\":1,\"input_length\":2,\"output_length\":3}\n"), HasSubstr(":1: hash_ids is missing"));
  EXPECT_THAT(error_of("a,1\nb,0\n"), HasSubstr(":2: the size '0' is not a whole number"));
  EXPECT_THAT(error_of("a,1\nb\n"), HasSubstr(":2: is not key,size"));
  EXPECT_THAT(error_of(""), HasSubstr("contains no requests"));
  EXPECT_THROW(static_cast<void>(read_recording({.path = "/no/such/trace"})), std::runtime_error);
}

TEST_F(RecordingTest, BrokenLinesAreLeftOutOnRequest) {
  const ReadResult read = this->read(std::string(kMooncake) + "nonsense\n" + kMooncake, {.skip_bad = true});
  EXPECT_EQ(read.bad_lines, 1u);
  EXPECT_EQ(read.first_bad, "line 3: is not a JSON object");
  EXPECT_EQ(read.recording.steps().size(), 4u);
}

TEST_F(RecordingTest, AGzipFileThatEndsEarlyIsNoShortTrace) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += std::to_string(i * 7919) + "\n";
  const std::string zipped = path_ + ".gz";
  const gzFile file = gzopen(zipped.c_str(), "wb");
  ASSERT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
  gzclose(file);
  EXPECT_EQ(read_recording({.path = zipped}).recording.distinct(), 20'000u);
  ASSERT_EQ(truncate(zipped.c_str(), 5'000), 0);
  try {
    static_cast<void>(read_recording({.path = zipped, .skip_bad = true}));
    ADD_FAILURE() << "it was read";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("the gzip file ends early"));
  }
  std::remove(zipped.c_str());
}

}   // namespace
}   // namespace tensorcache::simulate
