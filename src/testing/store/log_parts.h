// Tests only: the parts of a disk tier's writing thread, over files in memory, called by the test
// itself instead of a thread.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/disk/recovery.h"
#include "testing/core/values.h"
#include "testing/store/fault_files.h"

namespace tensorcache::testing {

class LogParts {
  static disk::DiskTierOptions options_of(const std::shared_ptr<FaultFiles>& files, std::uint64_t capacity_bytes) {
    disk::DiskTierOptions options;
    options.directory = "cache";
    options.capacity_bytes = capacity_bytes;
    options.files = files;
    options.retry_pause = std::chrono::milliseconds(0);
    options.unix_ms = [] { return std::int64_t{1'700'000'000'000}; };
    return options;
  }

 public:
  static constexpr std::uint64_t kSegmentBytes = 64 << 10;
  using ChangeHeader = std::function<void(disk::RecordHeader&)>;

  // Makes the directory if need be, and recovers what is in it.
  explicit LogParts(std::shared_ptr<FaultFiles> in, std::uint64_t capacity_bytes = 8 << 20)
      : files(std::move(in)),
        state(options_of(files, capacity_bytes), kSegmentBytes),
        directory("cache", files, state.open_files),
        log(state, directory),
        scrubber(state, log),
        side_files(state, directory, log) {
    EXPECT_EQ(directory.make(), 0);
    EXPECT_EQ(directory.lock(), 0);
    disk::Recovery recovery(state, directory, log, scrubber, side_files);
    EXPECT_TRUE(recovery.recover());
  }

  // Appends a value of its own number's bytes, and indexes it in place of an earlier one.
  bool put(std::uint64_t number, std::size_t size, const ChangeHeader& change = {}) { return append(number, size, change, true); }
  // Appends a value for which there is no entry.
  bool put_unlisted(std::uint64_t number, std::size_t size) { return append(number, size, {}, false); }
  bool remove(std::uint64_t number) {
    disk::RecordHeader header;
    header.type = disk::RecordType::kRemove;
    header.key = key_of(number);
    return log.log_removals(std::vector<disk::RecordHeader>{header});
  }
  // RETURNS where the value is by the index; nothing if it has no entry.
  [[nodiscard]] std::optional<disk::Place> place_of(std::uint64_t number) const {
    const MutexLock lock(state.mutex);
    const disk::Index::Id id = state.catalog.find(key_of(number));
    if (id == disk::Index::kNone) return std::nullopt;
    return state.catalog[id].place;
  }
  [[nodiscard]] bool has(std::uint64_t number) const { return place_of(number).has_value(); }
  // RETURNS the bytes of a segment's file.
  [[nodiscard]] std::vector<std::byte> file_of(std::uint32_t segment) const { return files->contents().at(directory.path_of(segment)); }
  [[nodiscard]] DiskStats counters() const {
    const MutexLock lock(state.mutex);
    return state.counters;
  }

  const std::shared_ptr<FaultFiles> files;
  disk::DiskState state;
  disk::Directory directory;
  disk::SegmentLog log;
  disk::Scrubber scrubber;
  disk::SideFiles side_files;

 private:
  bool append(std::uint64_t number, std::size_t size, const ChangeHeader& change, bool listed) {
    const std::string value = value_of(number, size);
    disk::RecordHeader header;
    header.key = key_of(number);
    header.value_bytes = size;
    header.created_unix_ms = state.options.unix_ms();
    if (change) change(header);
    const disk::EntryClass entry_class{header.kind, header.owner, header.source};
    if (log.reserve_some_entries(std::span(&entry_class, 1)) != 1) return false;
    const std::span<const std::byte> bytes = std::as_bytes(std::span(value));
    return log.append(std::span(&header, 1), std::span(&bytes, 1), true, [&](std::size_t, const disk::Place& place) {
      if (!listed) return false;
      const MutexLock lock(state.mutex);
      if (const disk::Index::Id old = state.catalog.find(header.key)) state.catalog.forget(old);
      state.catalog.insert(header.key, place, entry_class, header.chained ? state.catalog.find(header.parent) : disk::Index::kNone);
      return true;
    });
  }
};

}   // namespace tensorcache::testing
