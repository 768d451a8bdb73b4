// The small files beside the segments: what they take, and when this tier's own are written.
#include <array>
#include <cstring>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::array kSidecars{"LOCK", "names", "names.next", "stale", "tags", "tags.next", "usage", "usage.next", "wiping", "wiping.next"};
constexpr std::size_t kSlice = 4096;          // entries of one write
constexpr std::uint64_t kShareOfNames = 64;   // the file of names has that part of the capacity at most

}   // namespace

void DiskTier::account_sidecar(const std::string& name, std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  sidecars_.set(name, bytes);
  changed_.notify_all();
}

void DiskTier::measure_sidecars() {
  for (const char* const name : kSidecars) {
    std::uint64_t bytes = 0;
    if (options_.files->size_of(path_of(name), &bytes) != 0) bytes = 0;
    account_sidecar(name, bytes);
  }
}

// Now and then, and at the end. What cannot be written is not worth an error.
void DiskTier::save_names() {
  std::optional<Names> names;
  std::uint64_t most_bytes = 0;
  {
    const MutexLock lock(mutex_);
    names = names_.take_changed();
    if (!names) return;
    most_bytes = capacity_ / kShareOfNames;
  }
  const std::string text = names_text(*names, most_bytes);
  account_sidecar("names.next", text.size());   // beside the old one, for a moment
  while (over_budget() && !late() && evict_oldest(false)) {
  }
  if (!over_budget() && owns_directory()) static_cast<void>(write_names(*options_.files, options_.directory, text));
  measure_sidecars();
}

void DiskTier::save_usage() {
  {
    const MutexLock lock(mutex_);
    if (hits_saved_ == counters_.hits) return;
    hits_saved_ = counters_.hits;
  }
  if (!owns_directory()) return;
  UsageWriter writer(*options_.files, options_.directory);
  std::vector<Used> slice;
  slice.reserve(kSlice);
  for (Index::Id begin = 1; !late();) {
    slice.clear();
    {
      const MutexLock lock(mutex_);
      for (; begin < catalog_.index().end_id() && slice.size() < kSlice; ++begin) {
        if (catalog_.index().is_entry(begin) && catalog_[begin].hits > 0) slice.push_back({catalog_[begin].key, catalog_[begin].hits});
        if (begin % kSlice == 0) {
          ++begin;
          break;
        }
      }
    }
    writer.add(slice);
    const MutexLock lock(mutex_);
    if (begin >= catalog_.index().end_id()) break;
  }
  if (!late() && owns_directory()) writer.finish();
  measure_sidecars();
}

void DiskTier::read_saved_usage() {
  read_usage(*options_.files, options_.directory, [this](const Used& used) {
    const MutexLock lock(mutex_);
    if (const Index::Id id = catalog_.find(used.key)) {
      catalog_[id].hits = used.hits & kMaxHits;
      catalog_[id].used = 1;
    }
  });
}

}   // namespace tensorcache::disk
