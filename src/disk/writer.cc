// The writing thread: from the queue to the end of the log.
#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kBatchBytes = std::uint64_t{8} << 20;
constexpr std::size_t kBatchWrites = 1024;
constexpr std::chrono::seconds kLookEvery{1};
constexpr std::chrono::minutes kSaveUsageEvery{1};

}   // namespace

void DiskTier::write_loop() {
  recover();
  {
    const std::lock_guard lock(mutex_);
    ready_ = true;
    changed_.notify_all();
  }
  auto look_at = std::chrono::steady_clock::now() + kLookEvery;
  auto usage_at = std::chrono::steady_clock::now() + kSaveUsageEvery;
  for (;;) {
    std::vector<Write> batch;
    bool stop = false, retry = false;
    {
      std::unique_lock lock(mutex_);
      const auto wake_at = health_.broken ? std::min(look_at, health_.retry_at) : look_at;
      changed_.wait_until(lock, wake_at, [&] { return stopping_ || (used_ > capacity_ && !health_.broken) || has_work_locked(); });
      stop = stopping_;
      retry = health_.broken && std::chrono::steady_clock::now() >= health_.retry_at;
      batch = take_batch_locked();
      writing_ = !batch.empty();
    }
    if (retry && !stop) heal();
    if (std::chrono::steady_clock::now() >= look_at) {
      if (!broken()) look_after_directory();
      if (!broken()) save_names();
      if (!broken() && look_at >= usage_at) {
        save_usage();
        usage_at = look_at + kSaveUsageEvery;
      }
      look_at = std::chrono::steady_clock::now() + kLookEvery;
    }
    if (!batch.empty()) write_batch(std::move(batch));
    while (over_budget() && evict_oldest(false)) {
    }
    const std::lock_guard lock(mutex_);
    writing_ = false;
    changed_.notify_all();
    if (stop) break;
  }
  if (broken()) return;
  seal_segment();
  save_names();
  save_usage();
}

bool DiskTier::broken() const {
  const std::lock_guard lock(mutex_);
  return health_.broken;
}

bool DiskTier::over_budget() const {
  const std::lock_guard lock(mutex_);
  return used_ > capacity_ && !segments_.empty() && !health_.broken;
}

// While the disk does not work removals wait for it, and everything else is let go at once.
bool DiskTier::has_work_locked() const {
  if (!health_.broken) return !queue_.empty();
  return std::any_of(queue_.begin(), queue_.end(), [](const Write& write) { return write.written || write.type == RecordType::kValue; });
}

std::vector<DiskTier::Write> DiskTier::take_batch_locked() {
  std::vector<Write> batch;
  std::deque<Write> kept;
  std::uint64_t bytes = 0;
  while (!queue_.empty() && batch.size() < kBatchWrites && bytes < kBatchBytes) {
    Write write = std::move(queue_.front());
    queue_.pop_front();
    if (health_.broken && !write.written && write.type != RecordType::kValue) {
      kept.push_back(std::move(write));
      continue;
    }
    bytes += write.value.bytes.size();
    batch.push_back(std::move(write));
  }
  queue_.insert(queue_.begin(), std::make_move_iterator(kept.begin()), std::make_move_iterator(kept.end()));
  return batch;
}

void DiskTier::write_batch(std::vector<Write> batch) {
  for (std::size_t begin = 0; begin < batch.size();) {
    std::size_t end = begin;
    while (end < batch.size() && !batch[end].written && !batch[end].clear_all && batch[end].purged.empty()) ++end;
    if (end > begin) {
      write_stretch(std::span(batch).subspan(begin, end - begin));
      begin = end;
      continue;
    }
    Write& write = batch[begin++];
    if (write.written) {
      write.written(!std::exchange(lost_some_, false) && !broken());
    } else if (write.clear_all) {
      clear_log(write);
    } else {
      write_purge(write);
    }
  }
}

// Values and removals: first what was removed, with one sync for all of it, then the values that were not removed since.
void DiskTier::write_stretch(std::span<Write> writes) {
  {
    const std::lock_guard lock(mutex_);
    for (Write& write : writes) {
      write.forgotten = write.type == RecordType::kValue && removed_since_locked(write.value.key, write.value.owner, write.number);
    }
  }
  const auto values = std::stable_partition(writes.begin(), writes.end(), [](const Write& write) { return write.type != RecordType::kValue; });
  if (values != writes.begin()) write_removals({writes.begin(), values});
  if (values != writes.end()) write_values({values, writes.end()});
}

// Those that are still to be stored, in order: not there yet, not removed since, and with their parent stored or before them.
std::vector<const DiskTier::Write*> DiskTier::wanted(std::span<Write> values) {
  std::vector<const Write*> chosen;
  std::unordered_map<Key, bool> before;
  const std::lock_guard lock(mutex_);
  for (const Write& write : values) {
    const Value& value = write.value;
    const bool known = index_.find(value.key) != Index::kNone || before.contains(value.key);
    const bool hangs = !value.parent || index_.find(*value.parent) != Index::kNone || before.contains(*value.parent);
    if (known || write.forgotten || removed_since_locked(value.key, value.owner, write.number)) continue;
    if (!hangs) {
      ++counters_.dropped_puts;
      lost_some_ = true;
      continue;
    }
    before.emplace(value.key, true);
    chosen.push_back(&write);
  }
  return chosen;
}

void DiskTier::write_values(std::span<Write> values) {
  const std::vector<const Write*> chosen = wanted(values);
  std::vector<RecordHeader> headers;
  std::vector<std::span<const std::byte>> bytes;
  for (const Write* write : chosen) {
    const Value& value = write->value;
    RecordHeader header;
    header.kind = value.kind;
    header.chained = value.parent.has_value();
    header.value_bytes = value.bytes.size();
    header.created_unix_ms = value.created_unix_ms;
    header.expires_unix_ms = value.expires_unix_ms;
    header.owner = value.owner;
    header.source = value.source;
    header.key = value.key;
    header.parent = value.parent.value_or(Key{});
    headers.push_back(header);
    bytes.push_back(value.bytes);
  }
  std::size_t published = 0;
  const bool all = append(headers, bytes, true, [&](std::size_t i, const Place& place) {
    const std::lock_guard lock(mutex_);
    ++published;
    const Value& value = chosen[i]->value;
    const Index::Id parent = value.parent ? index_.find(*value.parent) : Index::kNone;
    // Meanwhile it may have been removed, or its parent may have gone.
    if (removed_since_locked(value.key, value.owner, chosen[i]->number)) return;
    const bool hangs = !value.parent || parent != Index::kNone;
    const Index::Id id = hangs ? insert_locked(value.key, place, {value.kind, value.owner, value.source}, parent) : Index::kNone;
    if (id == Index::kNone) {
      lost_some_ = true;
      counters_.dropped_puts += hangs ? 0 : 1;   // where the index is full, it counts that
      return;
    }
    index_.touch(id, tick_);
    ++counters_.puts;
    counters_.accepted_bytes += value.bytes.size();
  });
  const std::lock_guard lock(mutex_);
  ++tick_;
  if (!all) {
    lost_some_ = true;
    counters_.dropped_puts += chosen.size() - published;
  }
  for (const Write& write : values) {
    queued_bytes_ -= write.value.bytes.size();
    const auto queued = queued_.find(write.value.key);
    if (--queued->second.count == 0) queued_.erase(queued);
  }
}

// Now and then, and at the end. What cannot be written is not worth an error.
void DiskTier::save_names() {
  Names names;
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(names_changed_, false)) return;
    names = names_;
  }
  static_cast<void>(disk::write_names(*options_.files, options_.directory, names));
}

void DiskTier::save_usage() {
  Usage usage;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(hits_saved_, counters_.hits) == counters_.hits) return;
    index_.for_each([&](Index::Id id) {
      if (index_[id].hits > 0) usage[index_[id].key] = index_[id].hits;
    });
  }
  static_cast<void>(disk::write_usage(*options_.files, options_.directory, usage));
}

bool DiskTier::append(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values, bool may_evict,
                      const std::function<void(std::size_t, const Place&)>& publish) {
  for (std::size_t begin = 0; begin < headers.size();) {
    if (log_.segment != 0 && log_.end + record_bytes(headers[begin].value_bytes) + summary_bytes(log_.records.size() + 1) > segment_bytes()) {
      seal_segment();
    }
    // As many as the segment takes.
    std::uint64_t bytes = log_.segment == 0 ? kSegmentHeaderBytes : 0, end = log_.segment == 0 ? kSegmentHeaderBytes : log_.end;
    std::size_t count = 0;
    while (begin + count < headers.size()) {
      const std::uint64_t record = record_bytes(headers[begin + count].value_bytes);
      if (count > 0 && end + record + summary_bytes(log_.records.size() + count + 1) > segment_bytes()) break;
      end += record;
      bytes += record;
      ++count;
    }
    if (broken() || !make_room(bytes, log_.records.size() + count, may_evict)) return false;
    std::vector<Place> places;
    int error = log_.segment == 0 ? open_segment() : 0;
    if (error == 0) error = append_piece(headers.subspan(begin, count), values.subspan(begin, count), &places);
    // Others fill the disk too: then our share of it is what we have, and less.
    if (error == ENOSPC && may_evict && evict_oldest(false)) continue;
    if (error != 0) {
      fail("the log cannot be written", error);
      return false;
    }
    for (std::size_t i = 0; i < count; ++i) publish(begin + i, places[i]);
    begin += count;
  }
  return true;
}

int DiskTier::append_piece(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values, std::vector<Place>* places) {
  static constexpr std::array<std::byte, kAlignment> kPadding{};
  std::vector<RecordHeaderBytes> encoded;
  std::vector<std::span<const std::byte>> parts;
  std::vector<Located> located;
  encoded.reserve(headers.size());   // parts point into it
  std::uint64_t offset = log_.end;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    RecordHeader header = headers[i];
    header.payload_checksum = payload_checksum(values[i], log_.header.salt, offset);
    encoded.push_back(encode_record_header(header, log_.header.salt, offset));
    parts.emplace_back(encoded.back());
    parts.push_back(values[i]);
    parts.push_back(std::span(kPadding).first(record_bytes(values[i].size()) - kRecordHeaderBytes - values[i].size()));
    located.push_back({offset, header});
    places->push_back({log_.segment, static_cast<std::uint32_t>(offset / kAlignment), static_cast<std::uint32_t>(values[i].size())});
    offset += record_bytes(values[i].size());
  }
  int error = write_fully(*log_.file, log_.end, parts);
  if (error == 0 && options_.sync == DiskSync::kRecord) error = log_.file->sync();
  if (error != 0) {
    abandon_segment();
    return error;
  }
  log_.records.insert(log_.records.end(), located.begin(), located.end());
  const std::lock_guard lock(mutex_);
  used_ += offset - log_.end;
  counters_.written_bytes += offset - log_.end;
  segments_[log_.segment].file_bytes = offset;
  log_.end = offset;
  health_.pause = {};
  return 0;
}

}   // namespace tensorcache::disk
