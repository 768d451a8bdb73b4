// At start: what was removed and not yet taken out of the segments, by a mark or by the list of wipes beside them.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kFirstBit = 32;   // of an entry's source, which has 32: the rest tells which wipes by age it matches

std::uint64_t bit_of(std::size_t wipe) { return wipe < 64 - kFirstBit ? std::uint64_t{1} << (kFirstBit + wipe) : 0; }

}   // namespace

// An error: what is to be dropped cannot be, or what it is cannot be read.
int DiskTier::recover_wipes(const std::vector<std::string>& files, std::vector<std::uint64_t>* ids) {
  const auto has = [&](const char* name) { return std::find(files.begin(), files.end(), name) != files.end(); };
  sweep_ = {};
  applied_ = 0;
  std::vector<Wipe> wipes;
  int error = 0;
  if (has(kWipesFile)) {
    switch (read_wipes(*options_.files, options_.directory, &wipes, &error)) {
      case WipesRead::kFailed:
        return error;
      case WipesRead::kDamaged:   // nobody knows what it named
        error = drop_segments(ids, kWipesFile);
        if (error == 0) note("the log was dropped, because the list of what is to be deleted is damaged");
        break;
      case WipesRead::kGood:
        break;
    }
  }
  if (error == 0 && has("stale")) {   // the last close could only leave a mark (close.cc), or was in the middle of it (clear_log)
    error = drop_segments(ids, "stale");
    if (error == 0) note("the log was dropped, because everything was to be removed before the last end");
  }
  if (error != 0) return error;
  // Those by age first, for the bits; positions ascend with the rest.
  std::stable_sort(wipes.begin(), wipes.end(), [](const Wipe& a, const Wipe& b) { return a.before < b.before; });
  for (const Wipe& wipe : wipes) last_segment_ = std::max(last_segment_, static_cast<std::uint32_t>(wipe.before.segment));
  set_wipes(std::move(wipes));
  return 0;
}

int DiskTier::drop_segments(std::vector<std::uint64_t>* ids, const char* mark) {
  for (const std::uint64_t id : *ids) {
    if (const int error = options_.files->remove(path_of(id)); error != 0 && error != ENOENT) return error;
  }
  if (const int error = options_.files->sync_directory(options_.directory)) return error;
  if (const int error = options_.files->remove(path_of(mark)); error != 0 && error != ENOENT) return error;
  ids->clear();
  return 0;
}

// With what tells which wipes will take it out, as its age is not in the index.
EntryClass DiskTier::recovered_class(std::uint32_t segment, const Located& located) const {
  const RecordHeader& header = located.header;
  EntryClass entry_class{header.kind, header.owner, header.source};
  std::size_t timed = 0;
  for (const Wipe& wipe : wipes_) {
    if (!wipe.what.until_unix_ms) continue;
    if (LogPosition{segment, located.offset} < wipe.before && wipe.what.matches(header)) entry_class.source |= bit_of(timed);
    ++timed;
  }
  return entry_class;
}

void DiskTier::apply_wipes_until(const LogPosition& position, Orphans* orphans) {
  while (applied_ < wipes_.size() && wipes_[applied_].before <= position) apply_wipe(applied_++, orphans);
}

// As if a removal stood there.
void DiskTier::apply_wipe(std::size_t i, Orphans* orphans) {
  const Wipe& wipe = wipes_[i];
  const auto timed = static_cast<std::size_t>(std::count_if(wipes_.begin(), wipes_.begin() + static_cast<std::ptrdiff_t>(i),
                                                            [](const Wipe& each) { return each.what.until_unix_ms.has_value(); }));
  for (const Key& key : wipe.what.keys) {
    const MutexLock lock(mutex_);
    if (const Index::Id id = catalog_.find(key)) catalog_.erase(id);
  }
  if (wipe.what.keys.empty()) {
    walk_index([&](Index::Id id) TC_REQUIRES(mutex_) {
      EntryClass entry_class = catalog_.index().class_of(id);
      const bool old_enough = !wipe.what.until_unix_ms || (entry_class.source & bit_of(timed)) != 0;
      entry_class.source &= bit_of(0) - 1;
      if (old_enough && wipe.what.matches(entry_class)) catalog_.erase(id);
      return true;
    });
  }
  if (!wipe.chained) return;
  // What was chained behind something of it went, too, and waits here for a parent that may be stored anew.
  forget_orphans(*orphans);
  orphans->children.clear();
  orphans->count = 0;
}

}   // namespace tensorcache::disk
