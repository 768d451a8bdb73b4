// Room within the budget: the oldest segment goes, and what of it is in use is written again.
#include <algorithm>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kBatchBytes = std::uint64_t{8} << 20;
constexpr std::uint64_t kUsageBytes = 2 * 34;
constexpr std::uint64_t kSlackBytes = 8192;   // names, headers and footers of the segments that take what is written again

}   // namespace

std::uint64_t DiskTier::segment_bytes() const {
  const MutexLock lock(mutex_);
  return segment_bytes_;
}

// What is kept of a victim is written before the victim goes: half a segment is held free for it.
bool DiskTier::make_room(std::uint64_t bytes, std::size_t log_records, bool may_evict) {
  for (;;) {
    {
      const MutexLock lock(mutex_);
      // The usage file, and its next version while it is written.
      const std::uint64_t usage = sidecars_.usage_bytes(), others = sidecars_.bytes() - usage;
      const std::uint64_t beside = others + (may_evict ? std::max(usage, kUsageBytes * catalog_.index().size()) : usage);
      const std::uint64_t held_free = may_evict ? segment_bytes_ / 2 + kSlackBytes : 0;
      if (catalog_.segments().file_bytes() + bytes + summary_bytes(log_records) + held_free + beside <= capacity_) return true;
    }
    if (!may_evict || !evict_oldest(true)) return false;
  }
}

bool DiskTier::evict_oldest(bool keep_used) {
  std::uint32_t victim = 0;
  const auto choose = [&] {
    const MutexLock lock(mutex_);
    for (const auto& [id, segment] : catalog_.segments()) {
      if (id != log_.segment) {
        victim = id;
        return true;
      }
    }
    return false;
  };
  if (!choose()) {
    if (log_.segment == 0) return false;
    seal_segment();   // small budgets: the open one is the oldest
    if (!choose()) return false;
  }
  if (keep_used) {
    const std::vector<Key> keys = worth_keeping(victim);
    static_cast<void>(write_again(victim, keys));
  }
  const std::size_t before = segment_count();
  remove_segment(victim);
  return segment_count() < before;   // not, if the disk refuses
}

bool DiskTier::segment_exists(std::uint32_t segment) const {
  const MutexLock lock(mutex_);
  return catalog_.segments().contains(segment);
}

std::size_t DiskTier::segment_count() const {
  const MutexLock lock(mutex_);
  return catalog_.segments().size();
}

// What was used since it was written, is in use in memory, or has others chained behind it; most recently used first, parents before
// their children. At most half of a segment, so that each eviction makes room.
std::vector<Key> DiskTier::worth_keeping(std::uint32_t victim) {
  struct Candidate {
    Key key;
    std::uint32_t tick, unit;
    std::uint64_t bytes;
    bool sure;
  };
  std::vector<Candidate> candidates;
  std::uint64_t room = 0, live = 0;
  {
    const MutexLock lock(mutex_);
    room = segment_bytes_ / 2;
    if (Segment* const segment = catalog_.segments().find(victim); segment != nullptr) live = segment->live();
  }
  candidates.reserve(live);   // entries of a segment only become fewer
  walk_index([&](Index::Id id) TC_REQUIRES(mutex_) {
    if (candidates.size() == live) return false;
    const Index::Entry& entry = catalog_[id];
    if (entry.place.segment == victim) {
      candidates.push_back({entry.key, entry.tick, entry.place.unit, record_bytes(entry.place.value_bytes) + kSummaryEntryBytes,
                            entry.used != 0 || entry.first_child != Index::kNone});
    }
    return true;
  });
  if (options_.in_memory) {
    for (Candidate& candidate : candidates) candidate.sure = candidate.sure || options_.in_memory(candidate.key);
  }
  std::erase_if(candidates, [](const Candidate& candidate) { return !candidate.sure; });
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.tick != b.tick ? a.tick > b.tick : a.unit < b.unit; });
  std::vector<Key> keys;
  for (const Candidate& candidate : candidates) {
    if (candidate.bytes > room) break;
    room -= candidate.bytes;
    keys.push_back(candidate.key);
  }
  return keys;
}

// False if some of it could not be.
bool DiskTier::write_again(std::uint32_t victim, std::span<const Key> keys) {
  std::shared_ptr<file::File> file;
  Salt salt;
  {
    const MutexLock lock(mutex_);
    Segment* const segment = catalog_.segments().find(victim);
    if (segment == nullptr) return false;
    file = segment->file;
    salt = segment->header.salt;
  }
  for (std::size_t begin = 0; file && begin < keys.size();) {
    std::vector<RecordHeader> headers;
    std::vector<std::vector<std::byte>> values;
    std::uint64_t bytes = 0;
    for (; begin < keys.size() && bytes < kBatchBytes; ++begin) {
      Place place;
      {
        const MutexLock lock(mutex_);
        if (late_locked()) return false;
        const Index::Id id = catalog_.find(keys[begin]);
        if (id == Index::kNone || catalog_[id].place.segment != victim) continue;
        place = catalog_[id].place;
      }
      std::vector<std::byte> record(kRecordHeaderBytes + place.value_bytes);
      const std::uint64_t offset = std::uint64_t{place.unit} * kAlignment;
      const int error = file::read_fully(*file, offset, record);
      const auto header = error == 0 ? decode_record_header(record, salt, offset) : std::nullopt;
      record.erase(record.begin(), record.begin() + kRecordHeaderBytes);
      if (!header || header->key != keys[begin] || header->payload_checksum != payload_checksum(record, salt, offset)) {
        const MutexLock lock(mutex_);
        ++(error != 0 ? counters_.read_errors : counters_.corrupt_records);
        continue;   // goes with the segment
      }
      bytes += record.size();
      headers.push_back(*header);
      values.push_back(std::move(record));
    }
    const std::vector<std::span<const std::byte>> spans(values.begin(), values.end());
    const bool all = append(headers, spans, false, [&](std::size_t i, const Place& place) {
      const MutexLock lock(mutex_);
      const Index::Id id = catalog_.find(headers[i].key);
      if (id == Index::kNone || catalog_[id].place.segment != victim || ledger_.is_cleared(headers[i])) return false;
      catalog_.move(id, place);
      catalog_[id].used = 0;
      ++counters_.written_again;
      counters_.written_again_bytes += headers[i].value_bytes;
      return true;
    });
    if (!all) return false;
  }
  return file != nullptr;
}

}   // namespace tensorcache::disk
