// Reads the memory of the machine, or of the container of this process.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace tensorcache::sizing {

struct MemoryReading {
  std::uint64_t total_bytes = 0;       // what there is for this process: the machine's, or its cgroups' limit
  std::uint64_t available_bytes = 0;   // of it, what can be had before others lose anything
  // Since the reading before, the share of the time in which some task stood still for want of
  // memory (the kernel's PSI); 0 where the kernel does not say.
  double pressure = 0;
  bool has_pressure = false;   // the kernel says it
};

class MemoryReader {
 public:
  virtual ~MemoryReader() = default;
  // Nothing: it cannot be read.
  [[nodiscard]] virtual std::optional<MemoryReading> read() = 0;
};

// Reads /proc and /sys/fs/cgroup (v2 and v1, this process's own cgroup and those above it). `root`
// stands before these paths, for tests.
[[nodiscard]] std::unique_ptr<MemoryReader> make_memory_reader(std::string root = "");

}   // namespace tensorcache::sizing
