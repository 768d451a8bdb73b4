// Names of owners and sources, as known now. names_and_hits.h defines their file.
//
// THREADS: none of its own; the disk tier holds its mutex around every call.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/disk/names_and_hits.h"

namespace tensorcache::disk {

class NameTable {
 public:
  enum class Of : std::uint8_t { kOwner, kSource };
  // REQUIRES: `name` comes from printable_name(). RETURNS: false if there are too many names.
  // Strong exception guarantee.
  bool set(Of of, std::uint64_t number, const std::string& name);
  [[nodiscard]] std::vector<std::uint64_t> sources_named(const std::string& name) const;
  // Adds saved names; names set meanwhile take precedence. Strong exception guarantee.
  void merge(Names saved);
  // RETURNS: all names if any changed since the last call. Strong exception guarantee.
  [[nodiscard]] std::optional<Names> take_changed();

 private:
  Names names_;
  bool changed_ = false;
};

}   // namespace tensorcache::disk
