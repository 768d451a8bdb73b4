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
  const std::lock_guard lock(mutex_);
  sidecars_[name] = bytes;
  changed_.notify_all();
}

std::uint64_t DiskTier::sidecar_bytes_locked(bool with_usage) const {
  std::uint64_t sum = 0;
  for (const auto& [name, bytes] : sidecars_) sum += with_usage || !name.starts_with("usage") ? bytes : 0;
  return sum;
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
  Names names;
  std::uint64_t most_bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!names_changed_) return;
    names = names_;
    names_changed_ = false;
    most_bytes = capacity_ / kShareOfNames;
  }
  const std::string text = names_text(names, most_bytes);
  account_sidecar("names.next", text.size());   // beside the old one, for a moment
  while (over_budget() && !late() && evict_oldest(false)) {
  }
  if (!over_budget() && owns_directory()) static_cast<void>(write_names(*options_.files, options_.directory, text));
  measure_sidecars();
}

void DiskTier::save_usage() {
  {
    const std::lock_guard lock(mutex_);
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
      const std::lock_guard lock(mutex_);
      for (; begin < index_.end_id() && slice.size() < kSlice; ++begin) {
        if (index_.is_entry(begin) && index_[begin].hits > 0) slice.push_back({index_[begin].key, index_[begin].hits});
        if (begin % kSlice == 0) {
          ++begin;
          break;
        }
      }
    }
    writer.add(slice);
    const std::lock_guard lock(mutex_);
    if (begin >= index_.end_id()) break;
  }
  if (!late() && owns_directory()) writer.finish();
  measure_sidecars();
}

void DiskTier::read_saved_usage() {
  read_usage(*options_.files, options_.directory, [this](const Used& used) {
    const std::lock_guard lock(mutex_);
    if (const Index::Id id = index_.find(used.key)) {
      index_[id].hits = used.hits & kMaxHits;
      index_[id].used = 1;
    }
  });
}

}   // namespace tensorcache::disk
