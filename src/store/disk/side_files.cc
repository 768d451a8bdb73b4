#include "store/disk/side_files.h"

#include <algorithm>
#include <array>
#include <utility>

#include "store/disk/names_and_hits.h"

namespace tensorcache::disk {
namespace {

constexpr std::array kSidecars{"LOCK", "names", "names.next", "stale", "tags", "tags.next", "usage", "usage.next", "wiping", "wiping.next"};
constexpr std::size_t kSlice = 4096;          // entries per write
constexpr std::uint64_t kShareOfNames = 64;   // the names file takes at most this part of the capacity

}   // namespace

void SideFiles::measure_sidecars() {
  for (const char* const name : kSidecars) {
    std::uint64_t bytes = 0;
    if (state_.options.files->size_of(directory_.path_of(name), &bytes) != 0) bytes = 0;
    state_.account_sidecar(name, bytes);
  }
}

// Saves periodically and on close. Write errors are ignored.
void SideFiles::save_names() {
  std::optional<Names> names;
  std::uint64_t max_bytes = 0;
  {
    const MutexLock lock(state_.mutex);
    names = state_.names.take_changed();
    if (!names) return;
    max_bytes = state_.capacity / kShareOfNames;
  }
  const std::string text = names_text(*names, max_bytes);
  state_.account_sidecar("names.next", text.size());   // beside the old file during the write
  while (state_.over_budget() && !state_.late() && log_.evict_oldest(false)) {
  }
  if (!state_.over_budget() && directory_.is_ours()) static_cast<void>(write_names(*state_.options.files, state_.options.directory, text));
  measure_sidecars();
}

void SideFiles::save_usage() {
  {
    const MutexLock lock(state_.mutex);
    if (hits_saved_ == state_.counters.hits) return;
    hits_saved_ = state_.counters.hits;
  }
  if (!directory_.is_ours()) return;
  UsageWriter writer(*state_.options.files, state_.options.directory);
  std::vector<Used> slice;
  slice.reserve(kSlice);
  for (Index::Id begin = 1; !state_.late();) {
    slice.clear();
    {
      const MutexLock lock(state_.mutex);
      for (; begin < state_.catalog.index().end_id() && slice.size() < kSlice; ++begin) {
        if (state_.catalog.index().is_entry(begin) && state_.catalog[begin].hits > 0)
          slice.push_back({state_.catalog[begin].key, state_.catalog[begin].hits});
        if (begin % kSlice == 0) {
          ++begin;
          break;
        }
      }
    }
    writer.add(slice);
    const MutexLock lock(state_.mutex);
    if (begin >= state_.catalog.index().end_id()) break;
  }
  if (!state_.late() && directory_.is_ours()) writer.finish();
  measure_sidecars();
}

void SideFiles::read_saved_usage() {
  read_usage(*state_.options.files, state_.options.directory, [this](const Used& used) {
    const MutexLock lock(state_.mutex);
    if (const Index::Id id = state_.catalog.find(used.key)) {
      state_.catalog[id].hits = used.hits & Index::kMaxHits;
      state_.catalog[id].used = 1;
    }
  });
}

}   // namespace tensorcache::disk
