#include "tools/loadgen/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdio>
#include <fstream>

namespace tensorcache::loadgen {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kTrace =
    "{\"timestamp\":1000,\"input_length\":1000,\"output_length\":5,\"hash_ids\":[0,1]}\n"
    "{\"timestamp\":3000,\"input_length\":1100,\"output_length\":7,\"hash_ids\":[0,1,2]}\n"
    "{\"timestamp\":2000,\"input_length\":512,\"output_length\":9,\"hash_ids\":[3]}\n";

struct TraceTest : ::testing::Test {
  TraceTest() { options.path = ::testing::TempDir() + "trace_test.jsonl"; }
  ~TraceTest() override { std::remove(options.path.c_str()); }
  void write(const std::string& text) { std::ofstream(options.path) << text; }
  std::string error() {
    try {
      (void)read_trace(options);
    } catch (const std::runtime_error& caught) {
      return caught.what();
    }
    return "";
  }
  TraceOptions options;
};

TEST_F(TraceTest, BlocksBecomeWordsAndSharedBlocksSharedText) {
  write(kTrace);
  options.speedup = 2;
  const Workload work = read_trace(options);
  const std::vector<Turn>& turns = work.phases[0].turns;
  ASSERT_EQ(turns.size(), 3u);
  EXPECT_EQ(turns[0].start_after.count(), 0);
  EXPECT_EQ(turns[1].start_after.count(), 500);   // in the order of time, twice as fast
  EXPECT_EQ(turns[2].start_after.count(), 1000);
  EXPECT_EQ(turns[1].max_tokens, 9);
  EXPECT_EQ(1 + std::count(turns[0].user.begin(), turns[0].user.end(), ' '), 1000);
  EXPECT_THAT(turns[2].user, StartsWith(turns[0].user.substr(0, 4000)));
  EXPECT_NE(turns[1].user.substr(0, 50), turns[0].user.substr(0, 50));
}

TEST_F(TraceTest, GzippedReadsTheSame) {
  write(kTrace);
  const Workload plain = read_trace(options);
  gzFile file = gzopen(options.path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  gzwrite(file, kTrace.data(), static_cast<unsigned>(kTrace.size()));
  gzclose(file);
  const Workload zipped = read_trace(options);
  ASSERT_EQ(zipped.turns(), plain.turns());
  EXPECT_EQ(zipped.phases[0].turns[2].user, plain.phases[0].turns[2].user);
}

TEST_F(TraceTest, LimitsApply) {
  write(kTrace);
  options.limit = 1;
  EXPECT_EQ(read_trace(options).turns(), 1u);
  options.limit = 0;
  options.max_input = 600;
  options.max_output = 4;
  const Workload work = read_trace(options);
  ASSERT_EQ(work.turns(), 1u);
  EXPECT_EQ(work.phases[0].turns[0].max_tokens, 4);
}

TEST_F(TraceTest, ErrorsNameFileAndLine) {
  EXPECT_THAT(error(), HasSubstr("trace_test.jsonl: No such file or directory"));
  write(kTrace + "{\"timestamp\":1}\n");
  EXPECT_THAT(error(), HasSubstr("trace_test.jsonl:4: input_length is missing"));
  write("nonsense\n");
  EXPECT_THAT(error(), HasSubstr("trace_test.jsonl:1: is not a JSON object"));
  write("{\"timestamp\":1,\"input_length\":-5,\"output_length\":1,\"hash_ids\":[]}\n");
  EXPECT_THAT(error(), HasSubstr(":1: input_length is missing or not a number"));
  write("");
  EXPECT_THAT(error(), HasSubstr("contains no request"));
}

}   // namespace
}   // namespace tensorcache::loadgen
