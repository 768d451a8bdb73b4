#include "app/commands/api_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>

#include "app/options/option_set.h"

namespace tensorcache::commands {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct ApiKeyFileTest : ::testing::Test {
  ~ApiKeyFileTest() override { std::remove(path.c_str()); }
  void write(const std::string& text, mode_t mode = 0600) {
    std::ofstream(path) << text;
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
  }
  std::string error() {
    try {
      (void)read_api_key_file(path, warning);
    } catch (const options::UsageError& caught) {
      return caught.what();
    }
    return "";
  }
  std::string path = ::testing::TempDir() + "api_keys_test.keys", warning;
};

TEST_F(ApiKeyFileTest, ReadsTenantsAndBareKeys) {
  write("# ours\nalice key-a admin\nbob\tkey-b   # a comment\n\n  bare-key  \n");
  const std::vector<protocol::ApiKey> keys = read_api_key_file(path, warning);
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_EQ(keys[0].key, "key-a");
  EXPECT_EQ(keys[0].tenant, "alice");
  EXPECT_TRUE(keys[0].admin);
  EXPECT_EQ(keys[1].key, "key-b");
  EXPECT_EQ(keys[1].tenant, "bob");
  EXPECT_FALSE(keys[1].admin);
  EXPECT_EQ(keys[2].key, "bare-key");
  EXPECT_EQ(keys[2].tenant, "default");
  EXPECT_EQ(warning, "");
}

TEST_F(ApiKeyFileTest, WarnsWhereOthersCanRead) {
  write("k\n", 0644);
  (void)read_api_key_file(path, warning);
  EXPECT_THAT(warning, HasSubstr("is readable by other users"));
}

TEST_F(ApiKeyFileTest, AHashBeginsACommentOnlyWhereAWordBegins) {
  write("alice x#9f3 # hers\n#bob y\n");
  const auto keys = read_api_key_file(path, warning);
  ASSERT_EQ(keys.size(), 1u);
  EXPECT_EQ(keys[0].key, "x#9f3");
}

TEST_F(ApiKeyFileTest, ErrorsNameTheLineAndNeverTheKey) {
  write("alice key-a\nbob hush king\n");
  EXPECT_THAT(error(), HasSubstr(":2: expected KEY, TENANT KEY or TENANT KEY admin"));
  EXPECT_THAT(error(), Not(HasSubstr("hush")));
  write("alice hush\nbob hush\n");
  EXPECT_THAT(error(), HasSubstr(":2: duplicate API key"));
  EXPECT_THAT(error(), Not(HasSubstr("hush")));
  write("sk-secret admin\n");
  EXPECT_THAT(error(), HasSubstr(":1: expected TENANT KEY admin")) << "or the word would be the key";
  write("# nothing\n");
  EXPECT_THAT(error(), HasSubstr("contains no API key"));
  std::remove(path.c_str());
  EXPECT_THAT(error(), HasSubstr("cannot read"));
}

TEST(ApiKeys, CommasSeparate) {
  const std::vector<protocol::ApiKey> keys = split_api_keys({"a,b", "c"});
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_EQ(keys[1].key, "b");
  EXPECT_THROW((void)split_api_keys({","}), options::UsageError);
  EXPECT_TRUE(split_api_keys({}).empty());
}

}   // namespace
}   // namespace tensorcache::commands
