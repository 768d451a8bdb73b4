// Reads the memory of the machine, or of this process's container.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace tensorcache::sizing {

struct MemoryReading {
  std::uint64_t total_bytes = 0;       // the machine's memory, or the cgroup limit
  std::uint64_t available_bytes = 0;   // available without taking memory from other processes
  // Fraction of the time since the last reading in which some task stalled for lack of memory (the
  // kernel's PSI); 0 if the kernel does not report it.
  double pressure = 0;
  bool has_pressure = false;   // the kernel reports PSI
};

class MemoryReader {
 public:
  virtual ~MemoryReader() = default;
  // RETURNS nothing if it cannot be read.
  [[nodiscard]] virtual std::optional<MemoryReading> read() = 0;
};

// Reads /proc and /sys/fs/cgroup (v2 and v1, this process's own cgroup and its parents). For tests:
// `root` is put before these paths, and `clock` gives the time between readings.
using SteadyClock = std::function<std::chrono::steady_clock::time_point()>;
[[nodiscard]] std::unique_ptr<MemoryReader> make_memory_reader(std::string root = "", SteadyClock clock = std::chrono::steady_clock::now);

}   // namespace tensorcache::sizing
