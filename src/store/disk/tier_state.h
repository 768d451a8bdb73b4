// Options of a disk tier.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/file/file.h"
#include "store/tier/lower_tier.h"
#include "tensorcache/key.h"
#include "tensorcache/types.h"

namespace tensorcache::disk {

struct DiskTierOptions {
  std::string directory;
  std::uint64_t capacity_bytes = std::uint64_t{20} << 30;   // limit of all files together
  DiskSync sync = DiskSync::kSegment;
  std::uint64_t queue_bytes = std::uint64_t{64} << 20;   // limit of queued values; more are dropped
  std::uint64_t segment_bytes = 0;                       // 0: 64 MiB, or less for small capacities
  std::uint64_t index_bytes_limit = UINT64_MAX;          // memory of the index; see limit_index()
  std::chrono::milliseconds retry_pause{1000};           // after a failure; doubles up to a minute
  std::shared_ptr<file::FileSystem> files = file::real_file_system();
  std::function<std::int64_t()> unix_ms;       // current wall time
  std::function<bool(std::uint64_t)> charge;   // requests this many more bytes of the memory budget; false: refused. Called on the writing thread
  std::function<void(std::uint64_t)> give_back;
  std::function<bool(const Key&)> in_memory;          // true if the value is in use in memory, without a read from here
  std::function<void(const std::string&)> on_event;   // receives log messages: a failure began or ended, or something was ignored
};

using tier::Urgency;
using tier::Value;

}   // namespace tensorcache::disk
