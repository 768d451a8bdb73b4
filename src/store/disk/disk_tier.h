// Values on disk: an append-only log of segment files, an index in memory, and a byte budget that
// no file passes.
//
// Knows keys and bytes only. Values are immutable, so a log needs no compaction: a segment is
// sealed when it is full, and dropped whole when the budget needs the room, after what is still in
// use was written again at the log's end.
//
// Threads: every member may be called from any, but nothing is stored or removed after close(). One
// thread of its own writes (write-behind), evicts and recovers; reads happen on the caller's. One
// mutex guards what is in memory and is never held during I/O or a callback.
//
// Parts: DiskState (what is in memory: Catalog, WriteQueue, RemovalLedger, Health, NameTable,
// Sidecars, under the one mutex); DiskReader (on callers' threads); Writer with SegmentLog,
// Scrubber, SideFiles and Recovery (on the writing thread). This class is what callers see: it
// looks up, puts and removes in the state, and hands the rest on.
//
// Memory: the index and the records of the open segment are charged. Values that wait are bounded
// by `queue_bytes`, removals that wait by kMaxRemovals (about 200 bytes each), segments by
// kMaxSegments (about 300 bytes each). Overwriting what was deleted takes some 2 MiB.
//
// Exceptions: std::bad_alloc from put(), remove(), clear(), purge() or name_*() leaves everything
// as it was. On the writing thread it is a failure of the disk: the batch is dropped, removals are
// retried.
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
  // Takes the directory, making it if need be; what is stored there becomes visible soon after
  // (wait_ready). Throws std::runtime_error that names the directory: it cannot be used, or another
  // process has it.
  explicit DiskTier(DiskTierOptions options);
  // close() with five seconds.
  ~DiskTier() override;

  using Value = tier::Value;
  using Found = tier::Found;
  using Presence = tier::Presence;
  using Reserve = tier::Reserve;
  using Accept = tier::Accept;
  using Verdict = tier::Verdict;
  using ReadEnd = tier::ReadEnd;
  using ReadResult = tier::ReadResult;
  // Queues a value. Never waits; false: it was dropped (the queue is full, the disk does not work,
  // it is too large) and counted.
  bool put(Value value) override;
  // Whether a put() of so many bytes would be queued now.
  [[nodiscard]] bool accepts(std::uint64_t value_bytes) const override;

  [[nodiscard]] Presence presence(const Key& key) const override;   // kUnknown: the directory is still being read
  // Whether it is stored, or waits to be.
  [[nodiscard]] bool knows(const Key& key) const override;
  // Whether a value that is stored, or waits to be, is chained behind it.
  [[nodiscard]] bool has_children(const Key& key) const override;
  // How many leading keys of the chain are stored. No I/O.
  [[nodiscard]] std::size_t peek(std::span<const Key> chain) const override;
  [[nodiscard]] std::uint64_t bytes_of(std::span<const Key> keys) const override;

  // Reads the leading run of `keys` that is stored and checks out, in order, several with one read
  // where they lie side by side. A value that is damaged, expired or cannot be read ends it and is
  // forgotten.
  ReadResult read(std::span<const Key> keys, const Reserve& reserve, const Accept& accept) override { return reader_.read(keys, reserve, accept); }
  // Whether the key's value is (still) the one of this record: not removed, replaced or written
  // again elsewhere since it was read.
  [[nodiscard]] bool holds(const Key& key, const tier::Copy& copy) const override { return reader_.holds(key, copy); }
  // The stored chain that ends with `key`, from its first value; empty if the key is not stored.
  [[nodiscard]] std::vector<Key> chain_of(const Key& key) const override { return reader_.chain_of(key); }
  // The first bytes of a value, as many as fit, without a check of the whole value's checksum: for
  // what needs no more than a hint. Waits for the disk. Nothing: it is not stored, expired, or
  // cannot be read.
  [[nodiscard]] std::optional<std::size_t> read_head(const Key& key, std::span<std::byte> head) const override { return reader_.read_head(key, head); }
  // How long reading so much takes, by what reads took lately; nothing while that is not known.
  [[nodiscard]] std::optional<double> read_seconds(std::uint64_t bytes) const override { return reader_.read_seconds(bytes); }

  // Forgets at once; the removal is logged later. A key that is nowhere on this disk costs no
  // write. Beyond kMaxRemovals that wait to be logged, the whole log is dropped instead
  // (DiskStats::collapsed_logs).
  bool remove(const Key& key) override;
  // Back-pressure for remove(): waits while half of kMaxRemovals wait and the disk works. To be
  // called with no lock held. False: they still do after `time`.
  bool wait_for_room(std::chrono::milliseconds time) const override;
  // What is selected, and what is chained behind it: walks the index, in slices, and reads the ages
  // of what some segments hold. What is put meanwhile may be cleared, too. `meanwhile` is called,
  // with no lock of use to it held, once nothing of it is found here any more; what is put before
  // that returns is cleared. Afterwards (flush) no byte of it is left, nor of what was selected and
  // replaced or removed before.
  std::uint64_t clear(Selected what, const std::function<void()>& meanwhile = {});
  std::uint64_t clear(const Selection& what, const std::function<void()>& meanwhile) override;
  std::uint64_t clear(std::optional<std::uint64_t> owner) { return clear(Selected{owner, {}, {}, {}}); }
  // Forgets these and what is chained behind them, and writes the rest of their segments anew:
  // afterwards (flush) no byte of them is left.
  std::uint64_t purge(std::span<const Key> keys);
  // Beyond kMaxNames of each they are dropped, and counted.
  void name_owner(std::uint64_t owner, const std::string& name);
  void name_source(std::uint64_t source, const std::string& name);
  [[nodiscard]] std::vector<std::uint64_t> sources_named(const std::string& name) const;
  void resize(std::uint64_t capacity_bytes);
  // Memory of the index, at most. Beyond it the oldest segments are evicted; at recovery only their
  // entries.
  void limit_index(std::uint64_t bytes);
  void follow_memory(std::uint64_t capacity_bytes) override { limit_index(capacity_bytes / kIndexShare); }
  static constexpr std::uint64_t kIndexShare = 2;   // of the memory's capacity, what the index may take at most
  // How large another component's file in the directory is, or is about to become: it counts in the
  // capacity. Known files are also measured once a second.
  void account_sidecar(const std::string& name, std::uint64_t bytes) { state_.account_sidecar(name, bytes); }

  // Calls `done` once everything that was put or removed before is in the log and as durable as
  // `sync` promises (true), or was given up (false). On the writing thread.
  void when_written(std::function<void(bool)> done) override;
  // Waits for that. False as well if it takes longer.
  bool flush(std::chrono::milliseconds time) override;
  // Until what the directory held is visible; false if that takes longer.
  bool wait_ready(std::chrono::milliseconds time) const override;

  // Stops accepting, writes the removals that wait, then values until `time` is over, and seals the
  // log. What may hold removed values and cannot be marked as removed in time is unlinked. Takes
  // `time`, the system call under way at its end, and the unlinks. False: a value that was removed
  // or replaced may be served after the next start, because neither writing nor unlinking works.
  // Values that were lost are no reason for that. Called again, it gives the same answer.
  bool close(std::chrono::milliseconds time) override;

  static constexpr std::size_t kMaxRemovals = RemovalLedger::kMaxRemovals;
  static constexpr std::size_t kMaxSegments = SegmentTable::kMaxSegments;

  [[nodiscard]] DiskStats stats() const;

 private:
  void set_name(NameTable::Of of, std::uint64_t number, const std::string& name);

  // clear.cc
  struct Dropped {   // freed without the lock
    Index index;
    std::list<Removal> removals;
  };
  std::uint64_t clear_all_locked(std::list<Removal>& removal, Dropped& dropped) noexcept TC_REQUIRES(state_.mutex);
  std::uint64_t clear_all(std::list<Removal>& removal, const std::function<void()>& meanwhile);
  struct Walk;   // of one clear()
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
