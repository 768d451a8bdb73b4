// The small files beside the segments: what owners and sources are called, and what was read how often. Losing them loses nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>

#include "disk/file.h"
#include "tensorcache/key.h"

namespace tensorcache::disk {

struct Names {
  std::map<std::uint64_t, std::string> owners, sources;
  friend bool operator==(const Names&, const Names&) = default;
};
// Names are lines of "owner HEX NAME" or "source HEX NAME". What is not there or not readable gives no names.
[[nodiscard]] Names read_names(FileSystem& files, const std::string& directory);
[[nodiscard]] int write_names(FileSystem& files, const std::string& directory, const Names& names);

using Usage = std::unordered_map<Key, std::uint16_t>;   // hits
// Nothing for a file that does not check out.
[[nodiscard]] Usage read_usage(FileSystem& files, const std::string& directory);
[[nodiscard]] int write_usage(FileSystem& files, const std::string& directory, const Usage& usage);

}   // namespace tensorcache::disk
