#include "store/sizing/memory_reading.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

namespace tensorcache::sizing {
namespace {

std::optional<std::uint64_t> number_in(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

// RETURNS the number after `name` in the first line that begins with it.
std::optional<std::uint64_t> line_number(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name)) return number_in(std::string_view(line).substr(name.size()));
  }
  return std::nullopt;
}

// RETURNS the microseconds since boot in which some task stalled, from a line such as
//  "some avg10=0.00 avg60=0.00 avg300=0.00 total=285441".
std::optional<std::uint64_t> stalled_us(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || !line.starts_with("some ")) return std::nullopt;
  const std::size_t at = line.find("total=");
  return at == std::string::npos ? std::nullopt : number_in(std::string_view(line).substr(at + 6));
}

// File names of one cgroup version.
struct Names {
  std::string_view limit, used, idle_file;   // idle_file: field of memory.stat, memory that the kernel reclaims first
};
constexpr Names kV2{"/memory.max", "/memory.current", "inactive_file "};
constexpr Names kV1{"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file "};

struct Groups {
  const Names* names = nullptr;
  std::vector<std::string> folders;   // from this process's own cgroup up to the root
};

// In a container the path may be the host's; only the root exists there.
std::vector<std::string> folders_up(const std::string& root, std::string path) {
  std::vector<std::string> folders;
  for (; path.size() > 1; path.erase(path.rfind('/'))) folders.push_back(root + path);
  folders.push_back(root);
  return folders;
}

std::vector<Groups> groups_of_this_process(const std::string& root) {
  std::vector<Groups> all;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {   // "0::/path" is v2, "4:memory:/path" v1
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos || line.substr(second + 1, 1) != "/") continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",", path = line.substr(second + 1);
    if (line.starts_with("0::")) all.push_back({&kV2, folders_up(root + "/sys/fs/cgroup", path)});
    if (controllers.find(",memory,") != std::string::npos) all.push_back({&kV1, folders_up(root + "/sys/fs/cgroup/memory", path)});
  }
  return all;
}

class SystemReader final : public MemoryReader {
 public:
  SystemReader(std::string root, SteadyClock clock) : root_(std::move(root)), clock_(std::move(clock)) {}

  std::optional<MemoryReading> read() override {
    const auto total = line_number(root_ + "/proc/meminfo", "MemTotal:"), available = line_number(root_ + "/proc/meminfo", "MemAvailable:");
    if (!total || !available || *total == 0) return std::nullopt;
    MemoryReading reading{.total_bytes = *total * 1024, .available_bytes = *available * 1024};
    // With enough memory available, other tasks may stall because of their own cgroup's limit.
    const std::uint64_t machine_bytes = reading.total_bytes;
    const bool machine_is_short = reading.available_bytes < reading.total_bytes / 4;
    std::vector<std::string> pressures{root_ + "/proc/pressure/memory"};
    for (const Groups& groups : groups_of_this_process(root_)) {
      for (const std::string& folder : groups.folders) narrow(*groups.names, folder, machine_bytes, &reading);
      if (groups.names == &kV2) pressures.push_back(groups.folders.front() + "/memory.pressure");
    }
    read_pressure(pressures, machine_is_short, &reading);
    return reading;
  }

 private:
  static void narrow(const Names& names, const std::string& folder, std::uint64_t machine_bytes, MemoryReading* reading) {
    const auto limit = line_number(folder + std::string(names.limit), ""), used = line_number(folder + std::string(names.used), "");
    if (!limit || !used || *limit >= machine_bytes) return;   // "max", or v1's huge number
    const std::uint64_t idle = line_number(folder + "/memory.stat", names.idle_file).value_or(0);
    const std::uint64_t in_use = *used - std::min(*used, idle);
    reading->total_bytes = std::min(reading->total_bytes, *limit);
    reading->available_bytes = std::min(reading->available_bytes, *limit - std::min(*limit, in_use));
  }

  void read_pressure(const std::vector<std::string>& paths, bool machine_is_short, MemoryReading* reading) {
    const auto now = clock_();
    const double passed_us = std::chrono::duration<double, std::micro>(now - read_at_).count();
    stalled_us_.resize(paths.size());
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const auto stalled = stalled_us(paths[i]);
      const auto before = std::exchange(stalled_us_[i], stalled);
      if (!stalled) continue;
      reading->has_pressure = true;
      if (!before || *stalled < *before || passed_us <= 0 || (i == 0 && !machine_is_short)) continue;
      reading->pressure = std::max(reading->pressure, std::min(1.0, static_cast<double>(*stalled - *before) / passed_us));
    }
    read_at_ = now;
  }

  const std::string root_;
  const SteadyClock clock_;
  std::vector<std::optional<std::uint64_t>> stalled_us_;   // as last read: the machine's, then this process's cgroups'
  std::chrono::steady_clock::time_point read_at_;
};

}   // namespace

std::unique_ptr<MemoryReader> make_memory_reader(std::string root, SteadyClock clock) {
  return std::make_unique<SystemReader>(std::move(root), std::move(clock));
}

}   // namespace tensorcache::sizing
