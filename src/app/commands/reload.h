// Reloads the config file and the API keys on SIGHUP.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "app/options/layers.h"
#include "app/commands/serve_config.h"
#include "store/sizing/capacity_controller.h"
#include "tensorcache/cache.h"

namespace tensorcache::commands {

struct Reloaded {
  std::string error;   // why nothing was changed; empty: it was read
  std::vector<std::string> warnings;
  std::vector<std::string> changes;         // "memory: 1GiB (was 512MiB)"
  std::vector<std::string> needs_restart;   // names of options that the running server does not follow
};

// Threads: one at a time.
class Reloader {
 public:
  // Throws std::invalid_argument for keys that cannot be.
  using TakeKeys = std::function<void(const ServeConfig&)>;   // their limits too
  // All but the arguments must outlive this; `running` is what the server was started with.
  Reloader(const ServeConfig& running, std::vector<std::string> arguments, options::Surroundings surroundings, Cache& cache,
           sizing::CapacityController& memory, TakeKeys take_keys);

  // Reads all layers anew, by the same arguments, with the key file, and applies what is different
  // from the last reading: API keys, the memory, the disk's size and the log level. What was set by
  // PUT /cache/config stays where the layers say what they said before. A file that is missing or
  // wrong changes nothing. Does not throw.
  [[nodiscard]] Reloaded reload();

 private:
  struct Sizes {
    bool memory_set, memory_auto, disk_set;
    std::uint64_t memory_bytes, disk_bytes;   // 0: no disk
  };
  [[nodiscard]] static Sizes sizes_of(const ServeConfig& config);
  [[nodiscard]] bool apply_keys(const ServeConfig& config, Reloaded* done);
  void apply(const ServeConfig& config, Reloaded* done);
  void apply_memory(const ServeConfig& config, Reloaded* done);

  const ServeConfig& running_;
  const std::vector<std::string> arguments_;
  const options::Surroundings surroundings_;
  Cache& cache_;
  sizing::CapacityController& memory_;
  const TakeKeys take_keys_;
  std::string path_, log_level_;
  int share_percent_;
  std::vector<protocol::ApiKey> keys_;
  Sizes last_;   // as the layers said
};

}   // namespace tensorcache::commands
