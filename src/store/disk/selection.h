// Selections of deletions, as records can be matched, and the list of deletions whose records are
// not overwritten yet. The list is the file "wiping" in the directory; the next start completes its
// deletions (scrubber.cc).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file/file.h"
#include "store/disk/format.h"
#include "store/disk/index.h"
#include "tensorcache/key.h"

namespace tensorcache::disk {

// All given fields must match. No field: everything.
struct Selected {
  std::optional<std::uint64_t> owner, source;
  std::optional<std::int64_t> until_unix_ms;   // stored at this time or before
  std::vector<Key> keys;                       // sorted; not empty: only these keys

  [[nodiscard]] bool is_everything() const { return !owner && !source && !until_unix_ms && keys.empty(); }
  [[nodiscard]] bool is_an_owner() const { return owner && !source && !until_unix_ms && keys.empty(); }
  // Matches owner and source only, the fields that an index entry has.
  [[nodiscard]] bool matches(const EntryClass& entry_class) const {
    return (!owner || *owner == entry_class.owner) && (!source || *source == entry_class.source);
  }
  [[nodiscard]] bool matches(std::uint64_t of_owner, std::uint64_t of_source, std::int64_t created_unix_ms, const Key& key) const;
  [[nodiscard]] bool matches(const RecordHeader& header) const { return matches(header.owner, header.source, header.created_unix_ms, header.key); }
  friend bool operator==(const Selected&, const Selected&) = default;
};

struct LogPosition {
  std::uint64_t segment = 0, offset = 0;
  friend auto operator<=>(const LogPosition&, const LogPosition&) = default;
};

// A deletion: every matching record before position `before` is removed, with its descendants, and
// must be overwritten.
struct Wipe {
  Selected what;
  LogPosition before;
  bool chained = false;       // descendants were deleted that do not match themselves
  std::uint64_t number = 0;   // of the removal; not stored
  bool swept = false;         // the running sweep covers it; not stored
};

[[nodiscard]] std::vector<std::byte> encode_wipes(const std::vector<Wipe>& wipes);
// RETURNS nothing for invalid bytes.
[[nodiscard]] std::optional<std::vector<Wipe>> decode_wipes(std::span<const std::byte> bytes);

inline constexpr const char* kWipesFile = "wiping";
enum class WipesRead : std::uint8_t { kGood, kDamaged, kFailed };   // kGood: also if there is no file
[[nodiscard]] WipesRead read_wipes(file::FileSystem& files, const std::string& directory, std::vector<Wipe>* wipes, int* error);
// Replaces the file atomically and durably; deletes it if there are no wipes.
[[nodiscard]] int write_wipes(file::FileSystem& files, const std::string& directory, const std::vector<Wipe>& wipes);

}   // namespace tensorcache::disk
