// What a deletion names, as records tell it, and the list of deletions whose records are still to
// be overwritten. The list is a file of the directory, "wiping": whoever starts next finishes what
// it names (scrub.cc).
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

// All that is given must match. Nothing given: everything.
struct Selected {
  std::optional<std::uint64_t> owner, source;
  std::optional<std::int64_t> until_unix_ms;   // stored then or before
  std::vector<Key> keys;                       // sorted; some: only these

  [[nodiscard]] bool is_everything() const { return !owner && !source && !until_unix_ms && keys.empty(); }
  [[nodiscard]] bool is_an_owner() const { return owner && !source && !until_unix_ms && keys.empty(); }
  // As far as an entry of the index tells: by owner and source.
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

// Every record before `before` that matches is removed, with what is chained behind it, and is to
// be overwritten.
struct Wipe {
  Selected what;
  LogPosition before;
  bool chained = false;       // values went that do not match themselves but were chained behind one that does
  std::uint64_t number = 0;   // of the removal; not stored
  bool swept = false;         // the sweep that is under way is for it, too; not stored
};

[[nodiscard]] std::vector<std::byte> encode_wipes(const std::vector<Wipe>& wipes);
// Nothing for bytes that do not check out.
[[nodiscard]] std::optional<std::vector<Wipe>> decode_wipes(std::span<const std::byte> bytes);

inline constexpr const char* kWipesFile = "wiping";
enum class WipesRead : std::uint8_t { kGood, kDamaged, kFailed };   // kGood: also where there are none
[[nodiscard]] WipesRead read_wipes(file::FileSystem& files, const std::string& directory, std::vector<Wipe>* wipes, int* error);
// Replaces the file as a whole and durably; of no wipes: removes it.
[[nodiscard]] int write_wipes(file::FileSystem& files, const std::string& directory, const std::vector<Wipe>& wipes);

}   // namespace tensorcache::disk
