// Reloads the config file and the API keys on SIGHUP.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "app/options/config_layers.h"
#include "app/commands/serve_config.h"
#include "store/sizing/capacity_controller.h"
#include "tensorcache/cache.h"

namespace tensorcache::commands {

struct Reloaded {
  std::string error;   // why nothing was changed; empty: success
  std::vector<std::string> warnings;
  std::vector<std::string> changes;         // "memory: 1GiB (was 512MiB)"
  std::vector<std::string> needs_restart;   // names of changed options that require a restart
};

// THREADS: one at a time.
class Reloader {
 public:
  // Throws std::invalid_argument for invalid keys.
  using TakeKeys = std::function<void(const ServeConfig&)>;   // and the limits that depend on them
  // REQUIRES: all arguments except `arguments` outlive this object. `running`: the configuration
  // the server was started with.
  Reloader(const ServeConfig& running, std::vector<std::string> arguments, options::Environment environment, Cache& cache,
           sizing::CapacityController& memory, TakeKeys take_keys);

  // Reads all layers and the key file again, with the same arguments, and applies differences from
  // the last reading: API keys, memory, disk size and log level. Sizes set by PUT /cache/config
  // stay unless the layers changed. A missing or invalid file changes nothing. Does not throw.
  [[nodiscard]] Reloaded reload();

 private:
  struct Sizes {
    bool memory_set, memory_auto, disk_set;
    std::uint64_t memory_bytes, disk_bytes;   // 0: no disk tier
  };
  [[nodiscard]] static Sizes sizes_of(const ServeConfig& config);
  [[nodiscard]] bool apply_keys(const ServeConfig& config, Reloaded* done);
  void apply(const ServeConfig& config, Reloaded* done);
  void apply_memory(const ServeConfig& config, Reloaded* done);

  const ServeConfig& running_;
  const std::vector<std::string> arguments_;
  const options::Environment surroundings_;
  Cache& cache_;
  sizing::CapacityController& memory_;
  const TakeKeys take_keys_;
  std::string path_, log_level_;
  int share_percent_;
  std::vector<protocol::ApiKey> keys_;
  Sizes last_;   // according to the layers
};

}   // namespace tensorcache::commands
