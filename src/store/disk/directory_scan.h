// Reads the contents of a directory for tools, without changing it; also while a server uses it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/file/file.h"
#include "store/disk/format.h"
#include "store/disk/names_and_hits.h"

namespace tensorcache::disk {

struct ScannedEntry {
  std::uint64_t segment = 0;
  Located record;
};

struct DirectoryScan {
  std::unordered_map<Key, ScannedEntry> entries;   // the entries that a server would serve
  Names names;
  Usage usage;
  std::uint64_t segments = 0, file_bytes = 0;
  std::uint64_t lost_bytes = 0;                // damaged, or cut off by a crash
  std::vector<std::string> damaged, unknown;   // segment file names
  std::vector<std::string> unreadable;         // file names, each with the reason
};

// RETURNS an errno of the directory.
[[nodiscard]] int scan_directory(file::FileSystem& files, const std::string& directory, DirectoryScan* result);

struct Verdict {
  std::uint64_t values = 0, value_bytes = 0;
  std::vector<std::string> bad;   // "seg-....tcs at 12345: REASON"
};
// Reads and verifies every value. `progress` is called with the completed fraction, 0 to 1.
[[nodiscard]] Verdict verify(file::FileSystem& files, const std::string& directory, const DirectoryScan& scan,
                             const std::function<void(float)>& progress);

}   // namespace tensorcache::disk
