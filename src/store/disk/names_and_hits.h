// The small files beside the segments: what owners and sources are called, and what was read how
// often. Losing them loses nothing else.
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

struct Names {   // kMaxNames of each
  std::map<std::uint64_t, std::string> owners, sources;
  friend bool operator==(const Names&, const Names&) = default;
};
// As the file holds it: short, and without control characters.
[[nodiscard]] std::string printable_name(const std::string& name);
// Replaces the number's name. False: there are too many. Strong guarantee.
bool add_name(std::map<std::uint64_t, std::string>& names, std::uint64_t number, std::string name);
// Names are lines of "owner HEX NAME" or "source HEX NAME". What is not there or not readable gives
// no names.
[[nodiscard]] Names read_names(file::FileSystem& files, const std::string& directory);
// As many of these lines as fit.
[[nodiscard]] std::string names_text(const Names& names, std::uint64_t most_bytes);
[[nodiscard]] int write_names(file::FileSystem& files, const std::string& directory, const std::string& text);

// How often a value was read.
struct Used {
  Key key;
  std::uint16_t hits = 0;
};

// Writes a new file of usage piece by piece; it takes the old one's place with finish(). Holds 64
// KiB.
class UsageWriter {
 public:
  UsageWriter(file::FileSystem& files, const std::string& directory);
  ~UsageWriter();
  UsageWriter(const UsageWriter&) = delete;
  UsageWriter& operator=(const UsageWriter&) = delete;
  // What would make the file too large to be read is left out.
  void add(std::span<const Used> used);
  void finish();

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

// Nothing for a file that does not check out.
void read_usage(file::FileSystem& files, const std::string& directory, const std::function<void(const Used& used)>& visit);
using Usage = std::unordered_map<Key, std::uint16_t>;   // hits
[[nodiscard]] Usage read_usage(file::FileSystem& files, const std::string& directory);

}   // namespace tensorcache::disk
