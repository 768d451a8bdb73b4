// Reads values from the log into a caller's memory.
//
// THREADS: any. The state's mutex is not held during I/O, so a record may be moved or removed
// meanwhile: the index is checked again after the read.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "store/disk/disk_state.h"
#include "store/tier/lower_tier.h"

namespace tensorcache::disk {

class DiskReader {
 public:
  explicit DiskReader(DiskState& state) : state_(state) {}
  DiskReader(const DiskReader&) = delete;
  DiskReader& operator=(const DiskReader&) = delete;

  using Found = tier::Found;
  using Reserve = tier::Reserve;
  using Accept = tier::Accept;
  using Verdict = tier::Verdict;
  using ReadEnd = tier::ReadEnd;
  using ReadResult = tier::ReadResult;

  // See DiskTier.
  ReadResult read(std::span<const Key> keys, const Reserve& reserve, const Accept& accept);
  [[nodiscard]] bool holds(const Key& key, const tier::Copy& copy) const;
  [[nodiscard]] std::vector<Key> chain_of(const Key& key) const;
  [[nodiscard]] std::optional<std::size_t> read_head(const Key& key, std::span<std::byte> head) const;
  [[nodiscard]] std::optional<double> read_seconds(std::uint64_t bytes) const;

 private:
  [[nodiscard]] bool holds(const Key& key, const Place& place) const;
  struct ReadExtent {   // adjacent records in one segment
    struct Record {
      Key key;
      std::uint64_t offset;
      Found found;
    };
    std::uint32_t segment = 0;
    std::shared_ptr<file::File> file;
    Salt salt;
    std::uint64_t offset = 0;
    std::uint32_t tick = 0;
    std::vector<Record> records;
    bool unreadable = false;                     // the read failed as a whole: each record may be retried alone
    bool moved = false;                          // the next record was moved
    std::optional<ReadEnd> end = std::nullopt;   // set: nothing after it can be read
  };
  [[nodiscard]] ReadExtent locate(std::span<const Key> keys, std::size_t most) const;
  void read_ahead(std::span<const Key> keys) const;
  std::size_t read_run(ReadExtent& run, std::size_t first, const Reserve& reserve, const Accept& accept);
  [[nodiscard]] bool check_and_count(ReadExtent& run, const ReadExtent::Record& record, const RecordHeaderBytes& bytes,
                                     std::span<const std::byte> value, std::size_t i, const Accept& accept);
  void read_failed(ReadExtent& run, int error);

  DiskState& state_;
  double seconds_per_byte_ TC_GUARDED_BY(state_.mutex) = 0;   // moving average; 0: unknown
};

}   // namespace tensorcache::disk
