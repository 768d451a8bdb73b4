// What owners and sources are called, as it is known now; names_and_hits.h has the file it is saved
// to.
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
  // REQUIRES: `name` is printable_name()'s. RETURNS: false: there are too many names. Strong
  // guarantee.
  bool set(Of of, std::uint64_t number, const std::string& name);
  [[nodiscard]] std::vector<std::uint64_t> sources_named(const std::string& name) const;
  // Adds what the directory holds; names that were given meanwhile stay. Strong guarantee.
  void merge(Names saved);
  // RETURNS: all names, if any changed since it was last asked. Strong guarantee.
  [[nodiscard]] std::optional<Names> take_changed();

 private:
  Names names_;
  bool changed_ = false;
};

}   // namespace tensorcache::disk
