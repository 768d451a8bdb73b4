#include "store/disk/name_table.h"

#include <utility>

namespace tensorcache::disk {

bool NameTable::set(Of of, std::uint64_t number, const std::string& name) {
  auto& names = of == Of::kOwner ? names_.owners : names_.sources;
  const auto known = names.find(number);
  if (known != names.end() && known->second == name) return true;
  if (!add_name(names, number, name)) return false;
  changed_ = true;
  return true;
}

std::vector<std::uint64_t> NameTable::sources_named(const std::string& name) const {
  std::vector<std::uint64_t> sources;
  for (const auto& [source, known] : names_.sources) {
    if (known == name) sources.push_back(source);
  }
  return sources;
}

void NameTable::merge(Names saved) {
  Names merged = names_;
  for (auto& [number, name] : saved.owners) {
    if (!merged.owners.contains(number)) add_name(merged.owners, number, std::move(name));
  }
  for (auto& [number, name] : saved.sources) {
    if (!merged.sources.contains(number)) add_name(merged.sources, number, std::move(name));
  }
  changed_ |= merged != names_;
  names_ = std::move(merged);
}

std::optional<Names> NameTable::take_changed() {
  if (!changed_) return std::nullopt;
  std::optional<Names> names = names_;
  changed_ = false;
  return names;
}

}   // namespace tensorcache::disk
