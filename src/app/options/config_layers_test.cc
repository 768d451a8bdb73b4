#include "app/options/config_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

namespace tensorcache::options {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct LayersTest : ::testing::Test {
  LayersTest() {
    options.group("All");
    options.add_int("-np,--parallel", "N", parallel, "at once", 1);
    options.add_size("--memory", memory, "the budget");
    options.add_flag("--deterministic", deterministic, "the same bits");
    options.add_list("--api-key", "KEY", keys, "a key").secret = true;
    options.add_text("--config", "FILE", config, "the file").command_line_only = true;
    std::filesystem::create_directories(folder + "/tensorcache");
  }
  ~LayersTest() override { std::filesystem::remove_all(folder); }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(folder + "/" + name) << text;
    return folder + "/" + name;
  }
  void read(const std::vector<std::string>& arguments) {
    const Environment environment{[this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      return found == variables.end() ? std::nullopt : std::optional(found->second);
    }};
    read_layers(options, arguments, environment, {"serve", "bench"});
  }
  std::string error_of_file(const std::string& text) {
    try {
      read({"--config", write("c.toml", text)});
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  }

  std::string folder = ::testing::TempDir() + "layers_test." + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::map<std::string, std::string> variables;
  int parallel = 4;
  std::uint64_t memory = 1;
  bool deterministic = false;
  std::vector<std::string> keys;
  std::string config;
  OptionSet options{"serve"};
};

TEST_F(LayersTest, CommandLineThenEnvironmentThenFileThenDefault) {
  const std::string path = write("c.toml", "[serve]\nparallel = 5\nmemory = \"1MiB\"\ndeterministic = true\n");
  read({});
  EXPECT_EQ(parallel, 4);
  read({"--config", path});
  EXPECT_EQ(parallel, 5);
  EXPECT_TRUE(deterministic);
  variables = {{"TENSORCACHE_PARALLEL", "6"}};
  read({"--config", path});
  EXPECT_EQ(parallel, 6);
  EXPECT_EQ(memory, 1u << 20);
  EXPECT_EQ(options.find("memory")->origin, path);
  EXPECT_EQ(options.find("parallel")->origin, "environment variable TENSORCACHE_PARALLEL");
  read({"--config", path, "-np", "7"});
  EXPECT_EQ(parallel, 7);
  EXPECT_EQ(options.find("parallel")->origin, "command line");
}

TEST_F(LayersTest, ALaterLayerCanSwitchAFlagOff) {
  const std::string path = write("c.toml", "[serve]\ndeterministic = true\n");
  variables = {{"TENSORCACHE_DETERMINISTIC", "0"}};
  read({"--config", path});
  EXPECT_FALSE(deterministic);
}

TEST_F(LayersTest, ListsComeFromCommasAndArraysAndReplaceEachOther) {
  const std::string path = write("c.toml", "[serve]\napi-key = [\"a\", \"b\"]\n");
  read({"--config", path});
  EXPECT_THAT(keys, ElementsAre("a", "b"));
  variables = {{"TENSORCACHE_API_KEY", "c,d"}};
  read({"--config", path});
  EXPECT_THAT(keys, ElementsAre("c", "d"));
  read({"--config", path, "--api-key", "e"});
  EXPECT_THAT(keys, ElementsAre("e"));
}

TEST_F(LayersTest, TheUsualFileAndTheVariableForIt) {
  write("tensorcache/config.toml", "[serve]\nparallel = 8\n");
  variables = {{"XDG_CONFIG_HOME", folder}};
  read({});
  EXPECT_EQ(parallel, 8);
  variables["TENSORCACHE_CONFIG"] = write("other.toml", "[serve]\nparallel = 9\n");
  read({});
  EXPECT_EQ(parallel, 9);
}

TEST_F(LayersTest, AnotherCommandsSectionIsNotRead) {
  read({"--config", write("c.toml", "[bench]\nwhatever = 1\n[serve]\nparallel = 2\n")});
  EXPECT_EQ(parallel, 2);
}

TEST_F(LayersTest, ErrorsNameFileLineAndKey) {
  EXPECT_THAT(error_of_file("[serve]\nparalel = 4\n"), HasSubstr("c.toml:2: paralel: unknown option; did you mean parallel?"));
  EXPECT_THAT(error_of_file("[serve]\n\nmemory = \"lots\"\n"), HasSubstr("c.toml:3: memory: 'lots' is not a size"));
  EXPECT_THAT(error_of_file("[serve]\nparallel = [1, 2]\n"), HasSubstr("c.toml:2: parallel: takes one value, not a list"));
  EXPECT_THAT(error_of_file("[serve]\nparallel = {x = 1}\n"), HasSubstr("parallel: must be a string, a number, true or false"));
  EXPECT_THAT(error_of_file("[serv]\nparallel = 1\n"), HasSubstr("c.toml:1: [serv]: unknown section; did you mean serve?"));
  EXPECT_THAT(error_of_file("parallel = 1\n"), HasSubstr("c.toml:1: parallel: options belong in a section: add [serve] above it"));
  EXPECT_THAT(error_of_file("[serve]\nconfig = \"x\"\n"), HasSubstr("config: is only allowed on the command line"));
  EXPECT_THAT(error_of_file("[serve\n"), HasSubstr("c.toml:1: "));
  EXPECT_THAT(error_of_file("[serve]\nparallel = \n"), HasSubstr("c.toml:2: "));
}

TEST_F(LayersTest, ErrorsNameTheVariable) {
  variables = {{"TENSORCACHE_MEMORY", "8G"}};
  try {
    read({});
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("environment variable TENSORCACHE_MEMORY: '8G' is ambiguous"));
  }
}

TEST_F(LayersTest, AMissingFileIsAnErrorOnlyIfItWasAskedFor) {
  variables = {{"XDG_CONFIG_HOME", folder + "/nowhere"}};
  read({});
  EXPECT_THROW(read({"--config", folder + "/nowhere.toml"}), UsageError);
  EXPECT_THROW(read({"--config", folder}), UsageError);
}

TEST_F(LayersTest, AnEmptyFileIsFine) {
  read({"--config", write("empty.toml", "")});
  EXPECT_EQ(parallel, 4);
}

TEST(VariableName, ServeHasTheShortNames) {
  EXPECT_EQ(variable_name(OptionSet("serve"), "ctx-size"), "TENSORCACHE_CTX_SIZE");
  EXPECT_EQ(variable_name(OptionSet("bench"), "url"), "TENSORCACHE_BENCH_URL");
}

}   // namespace
}   // namespace tensorcache::options
