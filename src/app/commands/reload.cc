#include "app/commands/reload.h"

#include <algorithm>
#include <array>
#include <exception>
#include <filesystem>
#include <string_view>
#include <utility>

#include "base/core/units.h"
#include "app/commands/commands.h"
#include "app/commands/logging.h"

namespace tensorcache::commands {
namespace {

constexpr std::array<std::string_view, 6> kAtOnce{"api-key", "api-key-file", "memory", "memory-share", "disk-size", "log-level"};

// RETURNS true if the option was set by some layer, now or at start.
bool is_set(const options::OptionSet::Item& before, const options::OptionSet::Item& now) {
  return before.origin != "default" || now.origin != "default";
}

std::vector<std::string> restart_needed(const options::OptionSet& before, const options::OptionSet& now) {
  std::vector<std::string> names;
  for (const auto& item : now.items()) {
    if (item->command_line_only || std::find(kAtOnce.begin(), kAtOnce.end(), item->name) != kAtOnce.end()) continue;
    const options::OptionSet::Item& old = *before.find(item->name);
    if (is_set(old, *item) && old.toml() != item->toml()) names.push_back(item->name);
  }
  return names;
}

std::string was(const std::string& name, const std::string& now, const std::string& before) { return name + ": " + now + " (was " + before + ")"; }

}   // namespace

Reloader::Reloader(const ServeConfig& running, std::vector<std::string> arguments, options::Environment environment, Cache& cache,
                   sizing::CapacityController& memory, TakeKeys take_keys)
    : running_(running),
      arguments_(std::move(arguments)),
      surroundings_(std::move(environment)),
      cache_(cache),
      memory_(memory),
      take_keys_(std::move(take_keys)),
      path_(options::config_path(arguments_, surroundings_)),
      log_level_(running.log_level),
      share_percent_(running.memory_share_percent),
      keys_(running.server.api_keys),
      last_(sizes_of(running)) {}

Reloader::Sizes Reloader::sizes_of(const ServeConfig& config) {
  const auto given = [&](const char* name) { return config.options.find(name)->origin != "default"; };
  return {given("memory"), config.memory_auto, given("disk-size"), config.cache.capacity_bytes,
          config.cache.disk ? config.cache.disk->capacity_bytes : 0};
}

Reloaded Reloader::reload() {
  Reloaded done;
  try {
    const std::string usual = options::default_config_path(surroundings_);
    const std::string path = path_.empty() ? options::config_path(arguments_, surroundings_) : path_;
    if (path.empty() && keys_.empty())
      throw options::UsageError(usual.empty() ? "there is no configuration file" : usual + ": there is no such file");
    if (!path.empty() && !std::filesystem::exists(path)) throw options::UsageError(path + ": there is no such file");
    ServeConfig config;
    config.read(arguments_, surroundings_);
    try {
      config.finish(surroundings_);
    } catch (const options::UsageError& error) {
      throw options::UsageError((path.empty() ? "" : path + ": ") + error.what());
    }
    path_ = path;
    done.warnings = config.warnings;
    apply(config, &done);
  } catch (const std::exception& error) {
    done.error = error.what();
  }
  return done;
}

// RETURNS false on a change between keys and no keys, which requires a restart.
bool Reloader::apply_keys(const ServeConfig& config, Reloaded* done) {
  const std::vector<protocol::ApiKey>& keys = config.server.api_keys;
  if (keys == keys_) return true;
  if (keys.empty() || keys_.empty()) return false;
  take_keys_(config);
  const auto missing_of = [](const std::vector<protocol::ApiKey>& some, const std::vector<protocol::ApiKey>& others) {
    return std::count_if(some.begin(), some.end(),
                         [&](const protocol::ApiKey& key) { return std::find(others.begin(), others.end(), key) == others.end(); });
  };
  done->changes.push_back("API keys: " + std::to_string(missing_of(keys, keys_)) + " new, " + std::to_string(missing_of(keys_, keys)) + " gone, " +
                          std::to_string(keys.size()) + " in all");
  keys_ = keys;
  return true;
}

void Reloader::apply(const ServeConfig& config, Reloaded* done) {
  const bool has_keys = apply_keys(config, done);   // first, because it may throw
  done->needs_restart = restart_needed(running_.options, config.options);
  if (!has_keys) done->needs_restart.emplace_back("api-key");
  apply_memory(config, done);
  const Sizes now = sizes_of(config);
  const DiskStats disk = cache_.disk_stats();
  if (now.disk_bytes > 0 && !disk.directory.empty() && (now.disk_set || last_.disk_set) && now.disk_bytes != last_.disk_bytes) {
    cache_.resize_disk(now.disk_bytes);
    done->changes.push_back(was("disk-size", format_size(now.disk_bytes), format_size(disk.capacity_bytes)));
  }
  last_ = now;
  if (config.log_level != log_level_) {
    set_log_level(config.log_level);
    done->changes.push_back(was("log-level", config.log_level, std::exchange(log_level_, config.log_level)));
  }
}

void Reloader::apply_memory(const ServeConfig& config, Reloaded* done) {
  if (config.memory_share_percent != share_percent_) {
    memory_.set_share(config.memory_share_percent / 100.0);
    done->changes.push_back(was("memory-share", std::to_string(config.memory_share_percent), std::to_string(share_percent_)));
    share_percent_ = config.memory_share_percent;
  }
  const Sizes now = sizes_of(config);
  if (!now.memory_set && !last_.memory_set) return;
  if (now.memory_auto == last_.memory_auto && (now.memory_auto || now.memory_bytes == last_.memory_bytes)) return;
  const sizing::MemoryState before = memory_.state();
  if (now.memory_auto) {
    memory_.set_automatic();
  } else {
    memory_.set(now.memory_bytes);
  }
  done->changes.push_back(
      was("memory", now.memory_auto ? "auto" : format_size(now.memory_bytes), before.automatic ? "auto" : format_size(before.capacity_bytes)));
}

}   // namespace tensorcache::commands
