// Minimum sizes of a cache, shared by the library, the server's options and its routes.
#pragma once

#include <cstdint>

namespace tensorcache {

struct Limits {
  static constexpr std::uint64_t kMinMemoryBytes = std::uint64_t{1} << 20;        // of a server's cache, including the index
  static constexpr std::uint64_t kMinDiskBytes = std::uint64_t{1} << 20;          // DiskOptions::capacity_bytes; smaller values are rejected
  static constexpr std::uint64_t kMinServedDiskBytes = std::uint64_t{64} << 20;   // of a server's disk tier: one segment of the default size
};

}   // namespace tensorcache
