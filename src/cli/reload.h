// SIGHUP: the configuration file once more, while the server runs.
#pragma once

#include <string>
#include <vector>

#include "cli/layers.h"
#include "cli/serve_config.h"
#include "host/memory_keeper.h"
#include "tensorcache/cache.h"

namespace tensorcache {

struct Reloaded {
  std::string error;   // why nothing was changed; empty: it was read
  std::vector<std::string> warnings;
  std::vector<std::string> changes;         // "memory: 1GiB (was 512MiB)"
  std::vector<std::string> needs_restart;   // names of options that the running server does not follow
};

// Threads: one at a time.
class Reloader {
 public:
  // All but the arguments must outlive this; `running` is what the server was started with.
  Reloader(const ServeConfig& running, std::vector<std::string> arguments, Surroundings surroundings, Cache& cache, host::MemoryKeeper& memory);

  // Reads all layers anew, by the same arguments, and changes the memory, the disk's size and the log level. A file that is missing or
  // wrong changes nothing. Does not throw.
  [[nodiscard]] Reloaded reload();

 private:
  void apply(const ServeConfig& config, Reloaded* done);
  void apply_memory(const ServeConfig& config, Reloaded* done);

  const ServeConfig& running_;
  const std::vector<std::string> arguments_;
  const Surroundings surroundings_;
  Cache& cache_;
  host::MemoryKeeper& memory_;
  std::string path_, log_level_;
  int share_percent_;
};

}   // namespace tensorcache
