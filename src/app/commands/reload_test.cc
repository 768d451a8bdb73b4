#include "app/commands/reload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "app/commands/commands.h"
#include "testing/core/eventually.h"

namespace tensorcache::commands {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class Reload : public ::testing::Test {
 protected:
  Reload() { std::filesystem::create_directories(folder + "/tensorcache"); }
  ~Reload() override {
    reloader.reset();
    memory.reset();
    cache.reset();
    spdlog::set_level(spdlog::level::info);
    std::filesystem::remove_all(folder);
  }
  void write(const std::string& section) const { std::ofstream(path) << "[serve]\n" + section; }
  // What `serve` does with these arguments.
  void start(std::vector<std::string> arguments) {
    const options::Environment environment{[this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      return found == variables.end() ? std::nullopt : std::optional(found->second);
    }};
    options::read_layers(running.options, arguments, environment, config_sections());
    running.finish(environment);
    cache.emplace(running.cache);
    memory.emplace(*cache);
    reloader.emplace(running, arguments, environment, *cache, *memory, [this](const ServeConfig& taken) { keys = taken.server.api_keys; });
  }
  bool becomes(std::uint64_t capacity) {
    return testing::eventually([&] { return cache->stats().capacity_bytes == capacity; });
  }

  const std::string folder = ::testing::TempDir() + "reload." + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string path = folder + "/tensorcache/config.toml";   // the usual place
  std::map<std::string, std::string> variables{{"XDG_CONFIG_HOME", folder}, {"XDG_CACHE_HOME", folder}};
  ServeConfig running;
  std::optional<Cache> cache;
  std::optional<sizing::CapacityController> memory;
  std::optional<Reloader> reloader;
  std::vector<protocol::ApiKey> keys;   // that were taken at the last hangup with new ones
};

TEST_F(Reload, ChangesWhatCanChange) {
  write("memory = \"32MiB\"\ndisk-size = \"128MiB\"\n");
  start({});
  write("memory = \"16MiB\"\ndisk-size = \"64MiB\"\nlog-level = \"debug\"\n");
  const Reloaded done = reloader->reload();
  EXPECT_EQ(done.error, "");
  EXPECT_THAT(done.changes, ElementsAre("memory: 16MiB (was 32MiB)", "disk-size: 64MiB (was 128MiB)", "log-level: debug (was info)"));
  EXPECT_THAT(done.needs_restart, IsEmpty());
  EXPECT_TRUE(becomes(16 * kMiB));
  EXPECT_EQ(cache->disk_stats().capacity_bytes, 64 * kMiB);
  EXPECT_EQ(spdlog::get_level(), spdlog::level::debug);
  EXPECT_THAT(reloader->reload().changes, IsEmpty());
}

TEST_F(Reload, NamesWhatNeedsARestartUntilItIsTakenBack) {
  write("disk = \"off\"\n");
  start({});
  write("disk = \"off\"\nparallel = 7\npolicy = \"clock\"\napi-key = [\"a\"]\n");
  for (int i = 0; i < 2; ++i) EXPECT_THAT(reloader->reload().needs_restart, ElementsAre("parallel", "policy", "api-key"));
  write("disk = \"off\"\n");
  EXPECT_THAT(reloader->reload().needs_restart, IsEmpty());
}

TEST_F(Reload, CommandLineAndEnvironmentGoBeforeTheFile) {
  write("disk = \"off\"\nmemory = \"32MiB\"\n");
  variables["TENSORCACHE_LOG_LEVEL"] = "error";
  start({"--memory", "8MiB"});
  write("disk = \"off\"\nmemory = \"64MiB\"\nlog-level = \"debug\"\nmemory-share = 20\n");
  EXPECT_THAT(reloader->reload().changes, ElementsAre("memory-share: 20 (was 50)"));
  EXPECT_EQ(cache->stats().capacity_bytes, 8 * kMiB);
}

TEST_F(Reload, AFileThatIsWrongChangesNothing) {
  write("disk = \"off\"\nmemory = \"32MiB\"\n");
  start({});
  const auto error_of = [&](const std::string& section) {
    write("disk = \"off\"\n" + section);
    const Reloaded done = reloader->reload();
    EXPECT_THAT(done.changes, IsEmpty());
    return done.error;
  };
  EXPECT_THAT(error_of("memory = \"16MiB\"\nmemori = 3\n"), HasSubstr(path + ":4: memori: unknown option; did you mean memory?"));
  EXPECT_THAT(error_of("memory = \"lots\"\n"), HasSubstr(path + ":3: memory: 'lots' is not a size"));
  EXPECT_THAT(error_of("memory = 0\n"), HasSubstr(path + ": --memory: 0B is too small"));
  EXPECT_THAT(error_of("memory = \"16MiB\"\n[serve\n"), HasSubstr(path + ":4: "));
  std::filesystem::remove(path);
  EXPECT_EQ(reloader->reload().error, path + ": there is no such file");
  EXPECT_EQ(memory->state().capacity_bytes, 32 * kMiB);
}

TEST_F(Reload, AFileThatWasNotThereAtStartIsTaken) {
  start({"--disk", "off"});
  EXPECT_EQ(reloader->reload().error, path + ": there is no such file");
  write("memory = \"16MiB\"\n");
  EXPECT_EQ(reloader->reload().error, "");
  EXPECT_TRUE(becomes(16 * kMiB));
}

TEST_F(Reload, WhatTheFileDoesNotSayStaysAsPutHasSetIt) {
  write("disk = \"off\"\n");
  start({});
  memory->set(5 * kMiB);
  EXPECT_THAT(reloader->reload().changes, IsEmpty());
  EXPECT_TRUE(becomes(5 * kMiB));
}

TEST_F(Reload, WhatPutHasSetStaysWhereTheFileSaysWhatItSaid) {
  write("memory = \"32MiB\"\ndisk-size = \"128MiB\"\n");
  start({});
  memory->set(5 * kMiB);
  cache->resize_disk(96 * kMiB);
  ASSERT_TRUE(becomes(5 * kMiB));
  EXPECT_THAT(reloader->reload().changes, IsEmpty());
  EXPECT_EQ(memory->state().capacity_bytes, 5 * kMiB);
  EXPECT_EQ(cache->disk_stats().capacity_bytes, 96 * kMiB);
  write("memory = \"16MiB\"\ndisk-size = \"128MiB\"\n");
  EXPECT_THAT(reloader->reload().changes, ElementsAre("memory: 16MiB (was 5MiB)"));
}

TEST_F(Reload, TheKeyFileIsReadAgain) {
  const std::string file = folder + "/keys";
  const auto write_keys = [&](const std::string& text) {
    std::ofstream(file) << text;
    std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  };
  write_keys("acme K1 admin\nacme K2\n");
  start({"--disk", "off", "--api-key-file", file});   // there is no configuration file
  EXPECT_THAT(reloader->reload().changes, IsEmpty());
  write_keys("acme K1 admin\nbob K3\n");
  EXPECT_THAT(reloader->reload().changes, ElementsAre("API keys: 1 new, 1 gone, 2 in all"));
  EXPECT_THAT(keys, ElementsAre(protocol::ApiKey{"K1", "acme", true}, protocol::ApiKey{"K3", "bob", false}));
  for (const char* bad : {"", "acme K1 boss\n", "acme K1\nbob K1\n"}) {
    write_keys(bad);
    EXPECT_THAT(reloader->reload().error, HasSubstr("--api-key-file: " + file)) << bad;
    EXPECT_EQ(keys.size(), 2u) << "the old ones hold";
  }
  std::filesystem::remove(file);
  EXPECT_THAT(reloader->reload().error, HasSubstr("cannot read " + file));
}

TEST_F(Reload, AutoIsTurnedOnAndOff) {
  write("disk = \"off\"\nmemory = \"32MiB\"\n");
  start({});
  write("disk = \"off\"\nmemory = \"auto\"\n");
  EXPECT_THAT(reloader->reload().changes, ElementsAre("memory: auto (was 32MiB)"));
  EXPECT_TRUE(memory->state().automatic);
  write("disk = \"off\"\nmemory = \"16MiB\"\n");
  EXPECT_THAT(reloader->reload().changes, ElementsAre("memory: 16MiB (was auto)"));
  EXPECT_TRUE(becomes(16 * kMiB));
}

TEST_F(Reload, MoreThanTheMachineHasIsWarnedOf) {
  write("disk = \"off\"\n");
  start({});
  write("disk = \"off\"\nmemory = \"9000TiB\"\n");
  EXPECT_THAT(reloader->reload().warnings, ElementsAre(AllOf(HasSubstr("--memory: "), HasSubstr("is more than the"))));
}

}   // namespace
}   // namespace tensorcache::commands
