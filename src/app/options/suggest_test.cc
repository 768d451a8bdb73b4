#include "app/options/suggest.h"

#include <gtest/gtest.h>

namespace tensorcache::options {
namespace {

const std::vector<std::string> kOptions{"--parallel", "--port", "--threads", "--threads-batch", "--memory", "--model", "-np", "-c"};

TEST(Suggest, FindsWhatWasMeant) {
  EXPECT_EQ(suggest("--paralel", kOptions), "--parallel");
  EXPECT_EQ(suggest("--prot", kOptions), "--port");   // a swap is one edit
  EXPECT_EQ(suggest("--threads_batch", kOptions), "--threads-batch");
  EXPECT_EQ(suggest("--mem", kOptions), "--memory");
  EXPECT_EQ(did_you_mean("--paralel", kOptions), "; did you mean --parallel?");
}

TEST(Suggest, IsSilentWhereNothingIsNear) {
  EXPECT_EQ(suggest("--banana-republic", kOptions), "");
  EXPECT_EQ(suggest("", kOptions), "");
  EXPECT_EQ(suggest("-x", kOptions), "");
  EXPECT_EQ(suggest(std::string(100'000, 'p'), kOptions), "");
  EXPECT_EQ(did_you_mean("--banana-republic", kOptions), "");
}

}   // namespace
}   // namespace tensorcache::options
