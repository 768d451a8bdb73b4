// The smallest sizes that a cache may be given, in one place for the library, the server's options
// and its routes.
#pragma once

#include <cstdint>

namespace tensorcache {

struct Limits {
  static constexpr std::uint64_t kMinMemoryBytes = std::uint64_t{1} << 20;        // of a server's cache, index included
  static constexpr std::uint64_t kMinDiskBytes = std::uint64_t{1} << 20;          // DiskOptions::capacity_bytes; less is refused
  static constexpr std::uint64_t kMinServedDiskBytes = std::uint64_t{64} << 20;   // of a server: one segment of the usual size
};

}   // namespace tensorcache
