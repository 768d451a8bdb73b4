// The disk tier: an append-only log of segment files, an index in memory, and a byte budget that
// the files never exceed.
//
// Stores opaque bytes under keys. Values are immutable, so the log needs no compaction: a full
// segment is sealed, and evicted as a whole when the budget needs the space, after the entries
// still in use were rewritten at the end of the log.
//
// THREADS: any for every member; nothing is stored or removed after close(). A thread of the tier's
// own writes (write-behind), evicts and recovers; reads run on the caller's thread. One mutex
// guards the state in memory and is never held during I/O or a callback.
//
// Parts: DiskState (the state in memory: Catalog, WriteQueue, RemovalLedger, Health, NameTable,
// Sidecars, under the one mutex); DiskReader (on callers' threads); Writer with SegmentLog,
// Scrubber, SideFiles and Recovery (on the writing thread). This class is the interface: it looks
// up, puts and removes in the state, and delegates the rest.
//
// Memory: the index and the records of the open segment are charged to the budget. Queued values
// are bounded by `queue_bytes`, queued removals by kMaxRemovals (about 200 bytes each), segments by
// kMaxSegments (about 300 bytes each). Overwriting deleted values takes about 2 MiB.
//
// ERRORS: std::bad_alloc from put(), remove(), clear(), purge() or name_*() changes nothing. On the
// writing thread it counts as a failure of the disk: the batch is dropped, removals are retried.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "store/disk/directory.h"
#include "store/disk/disk_reader.h"
#include "store/disk/disk_state.h"
#include "store/disk/tier_state.h"
#include "store/disk/writer.h"
#include "store/tier/lower_tier.h"

namespace tensorcache::disk {

class DiskTier final : public tier::LowerTier {
 public:
  // Locks the directory, and creates it if needed; its contents become visible soon after
  // (wait_ready). Throws std::runtime_error that names the directory if it cannot be used or
  // another process holds its lock.
  explicit DiskTier(DiskTierOptions options);
  // Calls close() with five seconds.
  ~DiskTier() override;

  using Value = tier::Value;
  using Found = tier::Found;
  using Presence = tier::Presence;
  using Reserve = tier::Reserve;
  using Accept = tier::Accept;
  using Verdict = tier::Verdict;
  using ReadEnd = tier::ReadEnd;
  using ReadResult = tier::ReadResult;
  // Queues a value; never waits. RETURNS false if it was dropped and counted: queue full, disk
  // broken, or value too large.
  bool put(Value value) override;
  [[nodiscard]] tier::Room room(std::uint64_t value_bytes, tier::Urgency urgency) const override;
  bool wait_for_queue(std::uint64_t value_bytes, std::chrono::milliseconds time) const override;
  void when_room(std::function<void()> call) override;
  void want_room() noexcept override;

  [[nodiscard]] Presence presence(const Key& key) const override;   // kUnknown: recovery is in progress
  // RETURNS true if the value is stored or queued.
  [[nodiscard]] bool knows(const Key& key) const override;
  // RETURNS true if a child of the key is stored or queued.
  [[nodiscard]] bool has_children(const Key& key) const override;
  // RETURNS the number of leading keys of the chain that are stored. No I/O.
  [[nodiscard]] std::size_t peek(std::span<const Key> chain) const override;
  [[nodiscard]] std::uint64_t bytes_of(std::span<const Key> keys) const override;

  // Reads the leading run of `keys` that is stored and valid, in order; adjacent values with one
  // read. A damaged, expired or unreadable value ends the run and is forgotten.
  ReadResult read(std::span<const Key> keys, const Reserve& reserve, const Accept& accept) override { return reader_.read(keys, reserve, accept); }
  // RETURNS true if the key's value is still this record: not removed, replaced or rewritten
  // elsewhere since it was read.
  [[nodiscard]] bool holds(const Key& key, const tier::Copy& copy) const override { return reader_.holds(key, copy); }
  // RETURNS the stored chain that ends with `key`, beginning with its first value; empty if the key
  // is not stored.
  [[nodiscard]] std::vector<Key> chain_of(const Key& key) const override { return reader_.chain_of(key); }
  // Copies the first bytes of a value, as many as fit, without verifying its checksum: use them as
  // a hint only. Waits for the disk. RETURNS nothing if the value is not stored, expired or
  // unreadable.
  [[nodiscard]] std::optional<std::size_t> read_head(const Key& key, std::span<std::byte> head) const override {
    return reader_.read_head(key, head);
  }
  // RETURNS the estimated time of a read of that size, from recent reads; nothing while unknown.
  [[nodiscard]] std::optional<double> read_seconds(std::uint64_t bytes) const override { return reader_.read_seconds(bytes); }

  // Forgets the value at once and logs the removal later. A key without a record on this disk costs
  // no write. If more than kMaxRemovals are queued, the whole log is dropped instead
  // (DiskStats::collapsed_logs).
  bool remove(const Key& key) override;
  // Back-pressure for remove(): waits while half of kMaxRemovals are queued and the disk works.
  // RETURNS false if they still are after `time`. REQUIRES: no lock is held.
  bool wait_for_room(std::chrono::milliseconds time) const override;
  // Deletes the selected values and their descendants: walks the index in slices, and reads the
  // ages of records in some segments. Values put meanwhile may be deleted, too. `meanwhile` is
  // called, without a lock that it could need, once the index holds no selected value; values put
  // before it returns are deleted. After a later flush() no byte of these values is left, nor of
  // matching ones that were replaced or removed before.
  std::uint64_t clear(Selected what, const std::function<void()>& meanwhile = {});
  std::uint64_t clear(const Selection& what, const std::function<void()>& meanwhile) override;
  std::uint64_t clear(std::optional<std::uint64_t> owner) { return clear(Selected{owner, {}, {}, {}}); }
  // Forgets these values and their descendants, and rewrites the rest of their segments. After a
  // later flush() no byte of them is left.
  std::uint64_t purge(std::span<const Key> keys);
  // Names beyond kMaxNames of each are dropped and counted.
  void name_owner(std::uint64_t owner, const std::string& name);
  void name_source(std::uint64_t source, const std::string& name);
  [[nodiscard]] std::vector<std::uint64_t> sources_named(const std::string& name) const;
  void resize(std::uint64_t capacity_bytes);
  // Limits the memory of the index. Beyond the limit the oldest segments are evicted; during
  // recovery only their entries are dropped.
  void limit_index(std::uint64_t bytes);
  void follow_memory(std::uint64_t capacity_bytes) override { limit_index(capacity_bytes / kIndexShare); }
  static constexpr std::uint64_t kIndexShare = 2;   // the index may take at most 1/2 of the memory capacity
  // Charges another component's file in the directory, of this present or next size, to the
  // capacity. Sizes of known files are also measured once per second.
  void account_sidecar(const std::string& name, std::uint64_t bytes) { state_.account_sidecar(name, bytes); }

  // Calls `done` on the writing thread once all earlier puts and removals are in the log, as
  // durable as `sync` specifies (true), or were dropped (false).
  void when_written(std::function<void(bool)> done) override;
  // Waits for the same. RETURNS false on timeout, too.
  bool flush(std::chrono::milliseconds time) override;
  // Waits until the directory's contents are visible. RETURNS false on timeout.
  bool wait_ready(std::chrono::milliseconds time) const override;

  // Stops accepting writes, writes the queued removals, then queued values until `time` is over,
  // and seals the log. Segments that may hold removed values and cannot be marked in time are
  // unlinked. Takes `time`, plus the system call running at its end and the unlinks. RETURNS false
  // if a removed or replaced value may be served after the next start, because neither writing nor
  // unlinking works; lost values do not count. A second call returns the same result.
  bool close(std::chrono::milliseconds time) override;

  static constexpr std::size_t kMaxRemovals = RemovalLedger::kMaxRemovals;
  static constexpr std::size_t kMaxSegments = SegmentTable::kMaxSegments;

  [[nodiscard]] DiskStats stats() const;

 private:
  void set_name(NameTable::Of of, std::uint64_t number, const std::string& name);

  // clear.cc
  struct Dropped {   // freed after the mutex is released
    Index index;
    std::list<Removal> removals;
  };
  std::uint64_t clear_all_locked(std::list<Removal>& removal, Dropped& dropped) noexcept TC_REQUIRES(state_.mutex);
  std::uint64_t clear_all(std::list<Removal>& removal, const std::function<void()>& meanwhile);
  struct Walk;   // state of one clear()
  void choose_segments_locked(Walk& walk) TC_REQUIRES(state_.mutex);
  void erase_of_class(Walk& walk) noexcept;
  void erase_by_age(Walk& walk, std::uint32_t segment) noexcept;
  void make_room_for_places(Walk& walk) noexcept;
  std::uint64_t erase_some_locked(Walk& walk, Index::Id id, std::size_t most) noexcept TC_REQUIRES(state_.mutex);

  DiskState state_;
  Mutex clearing_mutex_ TC_ACQUIRED_BEFORE(state_.mutex);   // one clear() at a time
  Directory directory_;
  DiskReader reader_;
  Writer writer_;
};

}   // namespace tensorcache::disk
