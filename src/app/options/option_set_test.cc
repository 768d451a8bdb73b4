#include "app/options/option_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tensorcache::options {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct OptionSetTest : ::testing::Test {
  OptionSetTest() {
    options.group("Model");
    options.add_text("-m,--model", "FILE", model, "the model");
    options.add_int("-c,--ctx-size", "N", ctx, "the context", 0, 1'000'000);
    options.add_int("-np,--parallel", "N", parallel, "at once", 1, 64);
    options.add_choice("-fa,--flash-attn", flash, {"on", "off", "auto"}, "flash attention");
    options.group("Cache");
    options.add_size("--memory", memory, "the budget");
    options.add_duration("--answer-ttl", ttl, "forget after");
    options.add_switch("--cache", cache, "reuse");
    options.add_flag("--deterministic", deterministic, "the same bits");
    options.add_real("--speedup", "X", speedup, "faster", 0, 100);
    options.add_list("--api-key", "KEY", keys, "a key").secret = true;
  }
  std::string error(const std::vector<std::string>& arguments) {
    try {
      options.parse(arguments, "command line");
    } catch (const UsageError& caught) {
      return caught.what();
    }
    return "";
  }

  std::string model, flash = "auto";
  int ctx = 0, parallel = 4;
  std::uint64_t memory = 1024;
  std::chrono::milliseconds ttl{0};
  bool cache = true, deterministic = false;
  double speedup = 1;
  std::vector<std::string> keys;
  OptionSet options{"serve"};
};

TEST_F(OptionSetTest, EveryKindAndSpelling) {
  options.parse({"-m", "a b.gguf", "-c", "4096", "-np", "8", "-fa=on", "--memory=2GiB", "--answer-ttl", "10m", "--cache", "off", "--deterministic",
                 "--speedup", "2.5", "--api-key", "one", "--api-key=two"},
                "command line");
  EXPECT_EQ(model, "a b.gguf");
  EXPECT_EQ(ctx, 4096);
  EXPECT_EQ(parallel, 8);
  EXPECT_EQ(flash, "on");
  EXPECT_EQ(memory, std::uint64_t{2} << 30);
  EXPECT_EQ(ttl, std::chrono::minutes(10));
  EXPECT_FALSE(cache);
  EXPECT_TRUE(deterministic);
  EXPECT_EQ(speedup, 2.5);
  EXPECT_THAT(keys, ElementsAre("one", "two"));
}

TEST_F(OptionSetTest, TheLastOfARepeatedOptionCounts) {
  options.parse({"-c", "1", "--ctx-size", "2", "-c", "3"}, "command line");
  EXPECT_EQ(ctx, 3);
}

TEST_F(OptionSetTest, ValuesThatLookLikeSomethingElse) {
  options.parse({"--model", "-"}, "command line");
  EXPECT_EQ(model, "-");
  options.parse({"--model", ""}, "command line");
  EXPECT_EQ(model, "");
  options.parse({"--model=--port"}, "command line");
  EXPECT_EQ(model, "--port");
  options.parse({"--model="}, "command line");
  EXPECT_EQ(model, "");
  options.parse({"--api-key", "[a,b]"}, "command line");
  EXPECT_THAT(keys, ElementsAre("[a,b]"));
}

TEST_F(OptionSetTest, ErrorsNameTheOptionFirst) {
  EXPECT_EQ(error({"--ctx-size", "many"}), "--ctx-size: 'many' is not a whole number");
  EXPECT_EQ(error({"-np", "0"}), "--parallel: 0 is out of range: it must be between 1 and 64");
  EXPECT_EQ(error({"-c", "99999999999999999999"}), "--ctx-size: 99999999999999999999 is out of range: it must be between 0 and 1000000");
  EXPECT_THAT(error({"--memory", "8G"}), HasSubstr("--memory: '8G' is ambiguous"));
  EXPECT_THAT(error({"--answer-ttl", "soon"}), HasSubstr("--answer-ttl: 'soon' is not a duration"));
  EXPECT_EQ(error({"--flash-attn", "of"}), "--flash-attn: 'of' is not one of on, off, auto; did you mean off?");
  EXPECT_EQ(error({"--cache", "maybe"}), "--cache: 'maybe' is neither on nor off");
  EXPECT_EQ(error({"--deterministic=maybe"}), "--deterministic: 'maybe' is neither on nor off");
  EXPECT_EQ(error({"--speedup", "nan"}), "--speedup: nan is out of range: it must be between 0 and 100");
}

TEST_F(OptionSetTest, UnknownAndMisplacedArguments) {
  EXPECT_EQ(error({"--paralel", "4"}), "--paralel: unknown option; did you mean --parallel?");
  EXPECT_EQ(error({"--paralel=4"}), "--paralel: unknown option; did you mean --parallel?");
  EXPECT_EQ(error({"--zzz"}), "--zzz: unknown option");
  EXPECT_EQ(error({"stray"}), "'stray': unexpected argument");
  EXPECT_EQ(error({"-m"}), "--model: needs a value (FILE)");
  EXPECT_EQ(error({"--model", "--parallel", "4"}), "--model: needs a value (FILE)");
}

TEST_F(OptionSetTest, PrintConfigIsTomlWithOriginsAndWithoutSecrets) {
  options.parse({"--memory=8GiB", "--api-key=hush"}, "config.toml");
  options.parse({"-np", "2"}, "command line");
  const std::string shown = options.print_config();
  EXPECT_THAT(shown, HasSubstr("[serve]\n"));
  EXPECT_THAT(shown, ::testing::ContainsRegex("memory = \"8GiB\" +# config.toml\n"));
  EXPECT_THAT(shown, ::testing::ContainsRegex("parallel = 2 +# command line\n"));
  EXPECT_THAT(shown, ::testing::ContainsRegex("ctx-size = 0 +# default\n"));
  EXPECT_THAT(shown, Not(HasSubstr("hush")));
}

TEST_F(OptionSetTest, HelpIsGroupedAndFitsTheWidth) {
  const std::string help = options.help(80);
  EXPECT_THAT(help, HasSubstr("\nModel:\n"));
  EXPECT_THAT(help, HasSubstr("\nCache:\n"));
  EXPECT_THAT(help, HasSubstr("-np, --parallel N"));
  EXPECT_THAT(help, HasSubstr("at once [4]"));
  std::size_t begin = 0;
  for (std::size_t end = help.find('\n'); end != std::string::npos; begin = end + 1, end = help.find('\n', begin)) {
    EXPECT_LE(end - begin, 80u) << help.substr(begin, end - begin);
  }
}

TEST(Toml, StringsAreEscaped) { EXPECT_EQ(toml_string("a\"b\\c\nd\x01"), "\"a\\\"b\\\\c\\nd\\u0001\""); }

}   // namespace
}   // namespace tensorcache::options
