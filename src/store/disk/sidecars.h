// Sizes of the files beside the segments, present or next. They count in the capacity.
//
// THREADS: none of its own; the disk tier holds its mutex around every call.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace tensorcache::disk {

class Sidecars {
 public:
  void set(const std::string& name, std::uint64_t bytes) { bytes_[name] = bytes; }
  [[nodiscard]] std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const auto& [name, bytes] : bytes_) sum += bytes;
    return sum;
  }
  // RETURNS the size of the usage file, and of its next version during the write.
  [[nodiscard]] std::uint64_t usage_bytes() const {
    std::uint64_t sum = 0;
    for (const auto& [name, bytes] : bytes_) sum += name.starts_with("usage") ? bytes : 0;
    return sum;
  }

 private:
  std::map<std::string, std::uint64_t> bytes_;
};

}   // namespace tensorcache::disk
