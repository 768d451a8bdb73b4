// Recovers deletions whose values are still in the segments: from the mark and from the list of
// wipes beside them.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "store/disk/recovery.h"

namespace tensorcache::disk {
namespace {

constexpr std::size_t kFirstBit = 32;   // bits of EntryClass::source above its 32; they tell which wipes by age match the entry

std::uint64_t bit_of(std::size_t wipe) { return wipe < 64 - kFirstBit ? std::uint64_t{1} << (kFirstBit + wipe) : 0; }

}   // namespace

// RETURNS an error if data to be dropped could not be dropped, or could not be determined.
int Recovery::recover_wipes(const std::vector<std::string>& files, std::vector<std::uint64_t>* ids) {
  const auto has = [&](const char* name) { return std::find(files.begin(), files.end(), name) != files.end(); };
  scrubber_.restart();
  applied_ = 0;
  std::vector<Wipe> wipes;
  int error = 0;
  if (has(kWipesFile)) {
    switch (read_wipes(*state_.options.files, state_.options.directory, &wipes, &error)) {
      case WipesRead::kFailed:
        return error;
      case WipesRead::kDamaged:   // the deleted values are unknown
        error = drop_segments(ids, kWipesFile);
        if (error == 0) state_.note("the log was dropped, because the list of pending deletions is damaged");
        break;
      case WipesRead::kGood:
        break;
    }
  }
  if (error == 0 && has("stale")) {   // written by close.cc or by an interrupted clear_log
    error = drop_segments(ids, "stale");
    if (error == 0) state_.note("the log was dropped, to complete removals that the last run could not write");
  }
  if (error != 0) return error;
  // Wipes by age first, as each needs a bit.
  std::stable_sort(wipes.begin(), wipes.end(), [](const Wipe& a, const Wipe& b) { return a.before < b.before; });
  for (const Wipe& wipe : wipes) log_.set_last_segment(std::max(log_.last_segment(), static_cast<std::uint32_t>(wipe.before.segment)));
  scrubber_.set_wipes(std::move(wipes));
  return 0;
}

int Recovery::drop_segments(std::vector<std::uint64_t>* ids, const char* mark) {
  for (const std::uint64_t id : *ids) {
    if (const int error = state_.options.files->remove(directory_.path_of(id)); error != 0 && error != ENOENT) return error;
  }
  if (const int error = state_.options.files->sync_directory(state_.options.directory)) return error;
  if (const int error = state_.options.files->remove(directory_.path_of(mark)); error != 0 && error != ENOENT) return error;
  ids->clear();
  return 0;
}

// Adds the wipes by age that match the record to its class, because the index holds no age.
EntryClass Recovery::recovered_class(std::uint32_t segment, const Located& located) const {
  const RecordHeader& header = located.header;
  EntryClass entry_class{header.kind, header.owner, header.source};
  std::size_t timed = 0;
  for (const Wipe& wipe : scrubber_.wipes()) {
    if (!wipe.what.until_unix_ms) continue;
    if (LogPosition{segment, located.offset} < wipe.before && wipe.what.matches(header)) entry_class.source |= bit_of(timed);
    ++timed;
  }
  return entry_class;
}

void Recovery::apply_wipes_until(const LogPosition& position, Orphans* orphans) {
  while (applied_ < scrubber_.wipes().size() && scrubber_.wipes()[applied_].before <= position) apply_wipe(applied_++, orphans);
}

// Applies a wipe like a removal at its position.
void Recovery::apply_wipe(std::size_t i, Orphans* orphans) {
  const Wipe& wipe = scrubber_.wipes()[i];
  const auto timed = static_cast<std::size_t>(std::count_if(scrubber_.wipes().begin(), scrubber_.wipes().begin() + static_cast<std::ptrdiff_t>(i),
                                                            [](const Wipe& each) { return each.what.until_unix_ms.has_value(); }));
  for (const Key& key : wipe.what.keys) {
    const MutexLock lock(state_.mutex);
    if (const Index::Id id = state_.catalog.find(key)) state_.catalog.erase(id);
  }
  if (wipe.what.keys.empty()) {
    state_.walk_index([&](Index::Id id) TC_REQUIRES(state_.mutex) {
      EntryClass entry_class = state_.catalog.index().class_of(id);
      const bool old_enough = !wipe.what.until_unix_ms || (entry_class.source & bit_of(timed)) != 0;
      entry_class.source &= bit_of(0) - 1;
      if (old_enough && wipe.what.matches(entry_class)) state_.catalog.erase(id);
      return true;
    });
  }
  if (!wipe.chained) return;
  // Descendants of deleted values were deleted, too, although their parent may be stored anew.
  forget_orphans(*orphans);
  orphans->children.clear();
  orphans->count = 0;
}

}   // namespace tensorcache::disk
