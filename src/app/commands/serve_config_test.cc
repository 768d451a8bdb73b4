#include "app/commands/serve_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/core/field_error.h"
#include "base/core/limits.h"

namespace tensorcache::commands {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

const options::Environment kHome{
    [](const std::string& name) -> std::optional<std::string> { return name == "HOME" ? std::optional<std::string>("/home/me") : std::nullopt; }};

void configure(ServeConfig& config, const std::vector<std::string>& arguments) {
  config.read(arguments, kHome);
  config.finish(kHome);
}

std::string error_of(const std::vector<std::string>& arguments) {
  ServeConfig config;
  try {
    configure(config, arguments);
  } catch (const options::UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(ServeConfig, LlamaServersSpellingsWork) {
  ServeConfig config;
  configure(config, {"-m",   "m.gguf", "-c",  "16384", "-np",  "2",  "-t", "3",    "-tb",       "5",      "-b",        "256",    "-ctk", "q8_0",
                     "-ctv", "f16",    "-fa", "on",    "-ngl", "-1", "-a", "name", "--no-mmap", "--host", "127.0.0.2", "--port", "0"});
  EXPECT_EQ(config.llama.model_path, "m.gguf");
  EXPECT_EQ(config.llama.ctx_size, 16384);
  EXPECT_EQ(config.llama.parallel, 2);
  EXPECT_EQ(config.llama.threads, 3);
  EXPECT_EQ(config.llama.threads_batch, 5);
  EXPECT_EQ(config.llama.batch_size, 256);
  EXPECT_EQ(config.llama.cache_type_k, "q8_0");
  EXPECT_EQ(config.llama.flash_attn, "on");
  EXPECT_EQ(config.llama.gpu_layers, -1);
  EXPECT_EQ(config.llama.alias, "name");
  EXPECT_FALSE(config.llama.mmap);
  EXPECT_EQ(config.server.host, "127.0.0.2");
  EXPECT_EQ(config.server.port, 0);
}

TEST(ServeConfig, LoraScalesInBothForms) {
  ServeConfig config;
  configure(config, {"--lora", "a.gguf", "--lora-scaled", "b.gguf:0.5", "--lora-scaled", "c.gguf", "0.25", "-np", "2"});
  EXPECT_THAT(config.llama.loras, ElementsAre(Pair("a.gguf", 1.0F), Pair("b.gguf", 0.5F), Pair("c.gguf", 0.25F)));
  EXPECT_EQ(config.llama.parallel, 2);
  EXPECT_THAT(error_of({"--lora-scaled", "b.gguf"}), HasSubstr("--lora-scaled: 'b.gguf' is not FILE:SCALE"));
}

TEST(ServeConfig, TheModelMayStandAlone) {
  ServeConfig alone, after;
  configure(alone, {"model.gguf", "--port", "0"});
  EXPECT_EQ(alone.llama.model_path, "model.gguf");
  configure(after, {"-np", "2", "model.gguf"});
  EXPECT_EQ(after.llama.model_path, "model.gguf");
  EXPECT_THAT(error_of({"model.gguf", "-m", "other.gguf"}), HasSubstr("model.gguf: unexpected argument; the model is already set by --model"));
  EXPECT_THAT(error_of({"one.gguf", "two.gguf"}), HasSubstr("two.gguf: one model at a time"));
}

TEST(ServeConfig, WhatElseLlamaServerTakesIsTakenOrExplained) {
  ServeConfig config;
  configure(config, {"--n-gpu-layers", "99", "--jinja", "-v"});
  EXPECT_EQ(config.llama.gpu_layers, 99);
  EXPECT_EQ(config.log_level, "debug");
  EXPECT_THAT(config.warnings, ::testing::Contains(HasSubstr("--jinja has no effect")));
  EXPECT_THAT(error_of({"-hf", "some/model"}), HasSubstr("-hf: downloads are not built in"));
  ServeConfig values;
  configure(values, {"--alias", "-v", "--cache-dir", "--jinja-store"});
  EXPECT_EQ(values.log_level, "info") << "a value is nobody's option";
  EXPECT_THAT(error_of({"--api-key", "--port=7522"}), HasSubstr("--api-key: needs a value")) << "an empty $KEY makes no key of the next option";
  EXPECT_THAT(error_of({"--temp=3"}), HasSubstr("--temp"));
  ServeConfig names;
  configure(names, {"model.gguf", "--alias", "one,two,three"});
  EXPECT_EQ(names.llama.alias, "one");
  EXPECT_THAT(names.llama.more_aliases, ::testing::ElementsAre("two", "three"));
  EXPECT_THAT(names.options.print_config(), HasSubstr("one,two,three")) << "as it was given";
  ServeConfig random;
  configure(random, {"model.gguf", "--seed", "4294967295"});
  EXPECT_EQ(random.server.defaults.sampling.seed, std::nullopt) << "llama.cpp draws one then, and no answer would repeat";
  EXPECT_THAT(error_of({"--alias", "one,,two"}), HasSubstr("--alias: an empty name"));
  ServeConfig defaults;
  configure(defaults, {"model.gguf", "--temperature", "0.5", "--seed", "42", "--predict", "64", "--top-k", "5"});
  EXPECT_EQ(defaults.server.defaults.sampling.temperature, 0.5F);
  EXPECT_EQ(defaults.server.defaults.sampling.seed, 42u);
  EXPECT_EQ(defaults.server.defaults.sampling.top_k, 5);
  EXPECT_EQ(defaults.server.defaults.max_tokens, 64);
  EXPECT_THAT(error_of({"--seed", "x"}), HasSubstr("--seed: 'x' is not a whole number"));
  EXPECT_THAT(error_of({"--seed", "4294967296"}), HasSubstr("--seed"));
  EXPECT_THAT(error_of({"-n", "0"}), HasSubstr("--n-predict: must be at least 1, or -1"));
}

TEST(ServeConfig, SeveralTenantsShareTheQueue) {
  const std::string file = ::testing::TempDir() + "queue-keys";
  std::ofstream(file) << "alice one\nbob two\n";
  ServeConfig one, several, own;
  configure(one, {"--api-key", "one", "--max-queue", "100"});
  EXPECT_EQ(one.llama.max_queue_per_tenant, 0);
  configure(several, {"--api-key-file", file, "--max-queue", "100"});
  EXPECT_EQ(several.llama.max_queue_per_tenant, 25);
  configure(own, {"--api-key-file", file, "--max-queue-per-tenant", "7"});
  EXPECT_EQ(own.llama.max_queue_per_tenant, 7);
}

TEST(ServeConfig, WhatIsPrintedIsWhatHolds) {
  ServeConfig config;
  config.read({"--threads-batch", "3", "m.gguf"}, kHome);
  const std::string shown = config.config_text(kHome);
  EXPECT_THAT(shown, ::testing::ContainsRegex("threads = 0 +# default: [1-9]"));
  EXPECT_THAT(shown, ::testing::ContainsRegex("threads-batch = 3 +# command line\n"));
  EXPECT_THAT(shown, ::testing::ContainsRegex("block-size = 0 +# default: 32\n"));
  EXPECT_THAT(shown, ::testing::ContainsRegex("alias = \"\" +# default: m.gguf\n"));
  EXPECT_THAT(shown, HasSubstr("/home/me/.cache/tensorcache/store"));
}

TEST(ServeConfig, AModelThatIsNotThereMakesNothingOnDisk) {
  const std::string home = ::testing::TempDir() + "no-model-home";
  const options::Environment environment{
      [&](const std::string& name) -> std::optional<std::string> { return name == "HOME" ? std::optional(home) : std::nullopt; }};
  ServeConfig config;
  config.read({"/nonexistent.gguf"}, environment);
  config.finish(environment);
  try {
    config.prepare();
    ADD_FAILURE();
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("--model: /nonexistent.gguf: cannot be loaded"));
  }
  EXPECT_FALSE(std::filesystem::exists(home));
}

TEST(ServeConfig, CacheOffIsBothCachesOff) {
  ServeConfig config;
  configure(config, {"--cache", "off"});
  EXPECT_FALSE(config.llama.prefix_cache);
  EXPECT_FALSE(config.server.cache_answers);
  ServeConfig answers_only;
  configure(answers_only, {"--cache-prefixes", "off"});
  EXPECT_FALSE(answers_only.llama.prefix_cache);
  EXPECT_TRUE(answers_only.server.cache_answers);
}

TEST(ServeConfig, ErrorsNameTheOption) {
  EXPECT_THAT(error_of({"--port", "70000"}), HasSubstr("--port: 70000 is out of range"));
  EXPECT_THAT(error_of({"--max-header-size", "8"}), HasSubstr("--max-header-size: 8B is out of range"));
  EXPECT_THAT(error_of({"--api-key-file", "no-such-file"}), HasSubstr("--api-key-file: cannot read no-such-file"));
  EXPECT_THAT(error_of({"--chat-template-file", "no-such-file"}), HasSubstr("--chat-template-file: cannot read no-such-file"));
  EXPECT_THAT(
      error_of({"--policy", "lur"}),
      HasSubstr(
          "--policy: 'lur' is not one of adaptive, arc, auto, clock, fifo, gdsf, guarded, lfu, lru, s3fifo, sieve, wtinylfu; did you mean lru?"));
  EXPECT_THAT(error_of({"-ctk", "f17"}), HasSubstr("--cache-type-k: 'f17' is not one of f32, f16"));
}

TEST(ServeConfig, APolicyThatIsNotForPrefixesMustBeForced) {
  EXPECT_THAT(error_of({"--policy", "lfu"}), HasSubstr("--policy: lfu is for independent keys"));
  ServeConfig forced, answers, clock;
  configure(forced, {"--policy", "lfu", "--force-policy"});
  EXPECT_EQ(forced.cache.policy, "lfu");
  configure(answers, {"--policy", "lfu", "--cache-prefixes", "off"});
  configure(clock, {"--policy", "clock"});
  EXPECT_THAT(error_of({"--policy", "guarded"}), HasSubstr("--policy: guarded is for independent keys"));
  EXPECT_EQ(ServeConfig().cache.policy, "auto");
}

TEST(ServeConfig, TheMemoryIsASizeOrAuto) {
  ServeConfig automatic, size, much;
  configure(automatic, {"--memory", "1GiB", "--memory", "auto", "--memory-share", "30"});
  EXPECT_TRUE(automatic.memory_auto);
  EXPECT_EQ(automatic.memory_share_percent, 30);
  EXPECT_THAT(automatic.options.print_config(), HasSubstr("memory = \"auto\""));
  size.options.parse({"--memory", "auto"}, "a file");
  configure(size, {"--memory", "1GiB"});
  EXPECT_FALSE(size.memory_auto);
  EXPECT_THAT(size.options.print_config(), HasSubstr("memory = \"1GiB\""));
  EXPECT_THAT(error_of({"--memory", "0"}), HasSubstr("--memory: 0B is too small: it must be at least 1MiB"));
  EXPECT_THAT(error_of({"--memory", "-1GiB"}), HasSubstr("--memory: '-1GiB' is not a size"));
  EXPECT_THAT(error_of({"--memory", "automatic"}), HasSubstr("--memory: 'automatic' is not a size"));
  EXPECT_THAT(error_of({"--memory-share", "0"}), HasSubstr("--memory-share: 0 is out of range"));
  configure(much, {"--memory", "9000TiB"});
  EXPECT_THAT(much.warnings, ElementsAre(HasSubstr("--memory: ")));
}

TEST(ServeConfig, AHomeFolderIsMeantByATilde) {
  ServeConfig config;
  configure(config, {"--model", "~/m.gguf", "--lora", "~/a.gguf", "--record=~/trace"});
  EXPECT_EQ(config.llama.model_path, "/home/me/m.gguf");
  EXPECT_THAT(config.llama.loras, ElementsAre(Pair("/home/me/a.gguf", 1.0F)));
  EXPECT_EQ(config.record_path, "/home/me/trace");
}

TEST(ServeConfig, TheCommandLineSaysWhichChatTemplate) {
  const std::string file = ::testing::TempDir() + "template.jinja";
  std::ofstream(file) << "from the file";
  ServeConfig text, both, other_way;
  text.options.parse({"--chat-template-file", file}, "config.toml");
  configure(text, {"--chat-template", "llama3"});
  EXPECT_EQ(text.llama.chat_template, "llama3");
  other_way.options.parse({"--chat-template", "llama3"}, "environment variable TENSORCACHE_CHAT_TEMPLATE");
  configure(other_way, {"--chat-template-file", file});
  EXPECT_EQ(other_way.llama.chat_template, "from the file");
  EXPECT_THAT(error_of({"--chat-template", "llama3", "--chat-template-file", file}), HasSubstr("conflicts with --chat-template"));
  EXPECT_EQ(error_of({"--chat-template", file}), "--chat-template: " + file + " is a file; use --chat-template-file");
}

TEST(ServeConfig, AMisspeltVariableIsWarnedOf) {
  options::Environment environment = kHome;
  environment.variable_names = [] {
    return std::vector<std::string>{
        "PATH", "TENSORCACHE_MEMROY", "TENSORCACHE_MEMORY", "TENSORCACHE_DEPS", "TENSORCACHE_BENCH_URL", "TENSORCACHE_SOMETHING_ELSE"};
  };
  EXPECT_THAT(options::unknown_variables(ServeConfig().options, environment),
              ElementsAre("environment variable TENSORCACHE_MEMROY is not known and has no effect; did you mean TENSORCACHE_MEMORY?",
                          "environment variable TENSORCACHE_SOMETHING_ELSE is not known and has no effect"));
}

TEST(ServeConfig, AWrongFieldIsNamedByItsOption) {
  server::ServerOptions open_to_all;
  open_to_all.host = "0.0.0.0";
  Cache cache({});
  try {
    const server::Server server(open_to_all, cache);
    FAIL() << "it must not start";
  } catch (const FieldError& error) {
    EXPECT_THAT(error.with_names(option_of_field),
                ::testing::AllOf(::testing::StartsWith("--host: an address"), HasSubstr("requires --api-key (or --allow-open-host, if")));
  }
  const ServeConfig config;
  for (const char* field : {"host", "api_keys", "allow_open_host", "max_body_bytes", "max_header_bytes", "max_connections", "request_timeout",
                            "keep_alive_timeout", "write_timeout", "min_write_bytes_per_second", "drain_timeout", "answer_time_to_live"})
    EXPECT_NE(config.options.find(option_of_field(field).substr(2)), nullptr) << field;
  EXPECT_EQ(option_of_field("disk.directory"), "disk.directory");
}

TEST(ServeConfig, SizesBelowTheLimitsAreRefused) {
  const auto option = [](std::uint64_t bytes) { return std::to_string(bytes); };
  EXPECT_THAT(error_of({"--memory", option(Limits::kMinMemoryBytes - 1)}), HasSubstr("must be at least 1MiB (or --cache off)"));
  EXPECT_EQ(error_of({"--memory", option(Limits::kMinMemoryBytes)}), "");
  EXPECT_THAT(error_of({"--disk-size", option(Limits::kMinServedDiskBytes - 1)}), HasSubstr("must be at least 64MiB (or --disk off)"));
  EXPECT_EQ(error_of({"--disk-size", option(Limits::kMinServedDiskBytes)}), "");
}

TEST(ServeConfig, TheDefaultBudgetIsBounded) {
  EXPECT_GE(default_cache_bytes(), std::uint64_t{64} << 20);
  EXPECT_LE(default_cache_bytes(), std::uint64_t{8} << 30);
}

TEST(ServeConfig, FingerprintsAreRememberedUnderTheCacheFolder) {
  ServeConfig config;
  configure(config, {});
  EXPECT_EQ(config.llama.fingerprint_cache_path, "/home/me/.cache/tensorcache/fingerprints");
}

}   // namespace
}   // namespace tensorcache::commands
