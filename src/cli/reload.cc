#include "cli/reload.h"

#include <algorithm>
#include <array>
#include <exception>
#include <filesystem>
#include <string_view>
#include <utility>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/logging.h"

namespace tensorcache {
namespace {

constexpr std::array<std::string_view, 4> kAtOnce{"memory", "memory-share", "disk-size", "log-level"};

// Somebody has set it, in this reading or at start.
bool is_set(const OptionSet::Item& before, const OptionSet::Item& now) { return before.origin != "default" || now.origin != "default"; }

std::vector<std::string> restart_needed(const OptionSet& before, const OptionSet& now) {
  std::vector<std::string> names;
  for (const auto& item : now.items()) {
    if (item->command_line_only || std::find(kAtOnce.begin(), kAtOnce.end(), item->name) != kAtOnce.end()) continue;
    const OptionSet::Item& old = *before.find(item->name);
    if (is_set(old, *item) && old.toml() != item->toml()) names.push_back(item->name);
  }
  return names;
}

std::string was(const std::string& name, const std::string& now, const std::string& before) { return name + ": " + now + " (was " + before + ")"; }

}   // namespace

Reloader::Reloader(const ServeConfig& running, std::vector<std::string> arguments, Surroundings surroundings, Cache& cache,
                   host::MemoryKeeper& memory)
    : running_(running),
      arguments_(std::move(arguments)),
      surroundings_(std::move(surroundings)),
      cache_(cache),
      memory_(memory),
      path_(config_path(arguments_, surroundings_)),
      log_level_(running.log_level),
      share_percent_(running.memory_share_percent) {}

Reloaded Reloader::reload() {
  Reloaded done;
  try {
    const std::string usual = default_config_path(surroundings_);
    const std::string path = path_.empty() ? config_path(arguments_, surroundings_) : path_;
    if (path.empty()) throw UsageError(usual.empty() ? "there is no configuration file" : usual + ": there is no such file");
    if (!std::filesystem::exists(path)) throw UsageError(path + ": there is no such file");
    ServeConfig config;
    read_layers(config.options, arguments_, surroundings_, config_sections());
    try {
      config.finish(surroundings_);
    } catch (const UsageError& error) {
      throw UsageError(path + ": " + error.what());
    }
    path_ = path;
    done.warnings = config.warnings;
    apply(config, &done);
  } catch (const std::exception& error) {
    done.error = error.what();
  }
  return done;
}

void Reloader::apply(const ServeConfig& config, Reloaded* done) {
  done->needs_restart = restart_needed(running_.options, config.options);
  apply_memory(config, done);
  const DiskStats disk = cache_.disk_stats();
  const OptionSet::Item& disk_size = *config.options.find("disk-size");
  if (config.cache.disk && !disk.directory.empty() && is_set(*running_.options.find("disk-size"), disk_size) &&
      disk.capacity_bytes != config.cache.disk->capacity_bytes) {
    cache_.resize_disk(config.cache.disk->capacity_bytes);
    done->changes.push_back(was("disk-size", format_size(config.cache.disk->capacity_bytes), format_size(disk.capacity_bytes)));
  }
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
  if (!is_set(*running_.options.find("memory"), *config.options.find("memory"))) return;
  const host::MemoryState before = memory_.state();
  const bool same_size = config.memory_auto || before.capacity_bytes == config.cache.capacity_bytes;
  if (before.automatic == config.memory_auto && same_size) return;
  if (config.memory_auto) {
    memory_.set_automatic();
  } else {
    memory_.set(config.cache.capacity_bytes);
  }
  done->changes.push_back(was("memory", config.memory_auto ? "auto" : format_size(config.cache.capacity_bytes),
                              before.automatic ? "auto" : format_size(before.capacity_bytes)));
}

}   // namespace tensorcache
