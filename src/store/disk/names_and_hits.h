// Files beside the segments: names of owners and sources, and hit counts of values. Losing them
// affects nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>

#include "base/file/file.h"
#include "tensorcache/key.h"

namespace tensorcache::disk {

inline constexpr std::size_t kMaxNames = 65'536, kMaxNameBytes = 200;

struct Names {   // at most kMaxNames each
  std::map<std::uint64_t, std::string> owners, sources;
  friend bool operator==(const Names&, const Names&) = default;
};
// RETURNS the name as stored: truncated, without control characters.
[[nodiscard]] std::string printable_name(const std::string& name);
// Replaces the name of a number. RETURNS false if there are too many. Strong exception guarantee.
bool add_name(std::map<std::uint64_t, std::string>& names, std::uint64_t number, std::string name);
// Names are lines "owner HEX NAME" or "source HEX NAME". A missing or unreadable file gives no
// names.
[[nodiscard]] Names read_names(file::FileSystem& files, const std::string& directory);
// RETURNS as many of these lines as fit.
[[nodiscard]] std::string names_text(const Names& names, std::uint64_t max_bytes);
[[nodiscard]] int write_names(file::FileSystem& files, const std::string& directory, const std::string& text);

// The number of reads of a value.
struct Used {
  Key key;
  std::uint16_t hits = 0;
};

// Writes a new usage file piece by piece; finish() puts it in place of the old one. Uses 64 KiB.
class UsageWriter {
 public:
  UsageWriter(file::FileSystem& files, const std::string& directory);
  ~UsageWriter();
  UsageWriter(const UsageWriter&) = delete;
  UsageWriter& operator=(const UsageWriter&) = delete;
  // Drops entries that would make the file too large to be read.
  void add(std::span<const Used> used);
  void finish();

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

// Calls nothing for an invalid file.
void read_usage(file::FileSystem& files, const std::string& directory, const std::function<void(const Used& used)>& visit);
using Usage = std::unordered_map<Key, std::uint16_t>;   // hits
[[nodiscard]] Usage read_usage(file::FileSystem& files, const std::string& directory);

}   // namespace tensorcache::disk
