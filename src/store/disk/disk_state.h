// State that the parts of the disk tier share, under one mutex, and the steps that change several
// pieces of it atomically.
//
// Each piece is a class of its own without a lock (Catalog, WriteQueue, RemovalLedger, Health,
// NameTable, Sidecars); clang checks that the mutex is held where they are used. One mutex, because
// a lookup, a removal and a write need a consistent view of the index, the queue and the ledger. It
// is not held during I/O or a callback.
//
// THREADS: any, unless a member says otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <string>

#include "base/core/mutex.h"
#include "store/disk/catalog.h"
#include "store/disk/health.h"
#include "store/disk/name_table.h"
#include "store/disk/open_files.h"
#include "store/disk/removal_ledger.h"
#include "store/disk/sidecars.h"
#include "store/disk/tier_state.h"
#include "store/disk/write_queue.h"

namespace tensorcache::disk {

struct DiskState {
  // `segment_bytes`: size at which a segment is sealed.
  DiskState(DiskTierOptions tier_options, std::uint64_t segment_bytes);
  DiskState(const DiskState&) = delete;
  DiskState& operator=(const DiskState&) = delete;

  const DiskTierOptions options;
  OpenFiles open_files;   // has its own lock, which is a leaf

  mutable Mutex mutex;
  mutable CondVar changed;
  Catalog catalog TC_GUARDED_BY(mutex);
  WriteQueue queue TC_GUARDED_BY(mutex);
  RemovalLedger ledger TC_GUARDED_BY(mutex);
  Health health TC_GUARDED_BY(mutex);
  NameTable names TC_GUARDED_BY(mutex);
  Sidecars sidecars TC_GUARDED_BY(mutex);
  DiskStats counters TC_GUARDED_BY(mutex);

  std::uint64_t capacity TC_GUARDED_BY(mutex), target_segment_bytes TC_GUARDED_BY(mutex);
  std::uint64_t index_limit TC_GUARDED_BY(mutex);
  bool index_limit_changed TC_GUARDED_BY(mutex) = false;
  bool wants_room TC_GUARDED_BY(mutex) = false;
  std::function<void()> on_room;                         // written under the mutex before `wants_room` is first set, not changed afterwards
  std::uint64_t charged TC_GUARDED_BY(mutex) = 0;        // memory of the index; changed by the writing thread only
  std::uint32_t tick TC_GUARDED_BY(mutex) = 1;           // logical time of writes and reads
  std::size_t timed_wipes TC_GUARDED_BY(mutex) = 0;      // selections by age that are being overwritten
  std::size_t clearing_walks TC_GUARDED_BY(mutex) = 0;   // running index walks of clear(): no entry is renumbered while there are any
  bool ready TC_GUARDED_BY(mutex) = false;               // the directory's contents are visible
  bool closing TC_GUARDED_BY(mutex) = false, closed TC_GUARDED_BY(mutex) = false;
  std::chrono::steady_clock::time_point deadline TC_GUARDED_BY(mutex),
      recovery_deadline TC_GUARDED_BY(mutex);             // of close()
  bool nothing_comes_back TC_GUARDED_BY(mutex) = false;   // result of close()
  bool recovered = false;                                 // written under the mutex by the writing thread, which reads it without

  void note(const std::string& event) const;
  // Marks the disk as broken, by an errno. THREADS: the writing thread.
  void fail(const char* what, int error);
  void give_back(std::uint64_t bytes) const;
  void account_sidecar(const std::string& name, std::uint64_t bytes);

  // RETURNS true if a segment can hold a value of that size.
  [[nodiscard]] bool fits_segment(std::uint64_t value_bytes) const TC_REQUIRES(mutex);
  [[nodiscard]] tier::Room room_locked(std::uint64_t value_bytes, tier::Urgency urgency) const TC_REQUIRES(mutex);
  [[nodiscard]] bool broken() const;
  [[nodiscard]] bool over_budget() const;
  [[nodiscard]] bool over_budget_locked() const TC_REQUIRES(mutex);
  [[nodiscard]] std::uint64_t segment_bytes() const;
  [[nodiscard]] bool segment_exists(std::uint32_t segment) const;
  [[nodiscard]] std::size_t segment_count() const;
  [[nodiscard]] bool removals_wait() const;
  // RETURNS true once the time of close() has expired; likewise for recovery's half of it.
  [[nodiscard]] bool late() const;
  [[nodiscard]] bool late_locked() const TC_REQUIRES(mutex);
  [[nodiscard]] bool recovery_is_late() const;

  // RETURNS true if the log may hold a record of the key. Otherwise no removal needs to be logged.
  [[nodiscard]] bool must_log_removal_locked(const Key& key, Index::Id id) const TC_REQUIRES(mutex);
  void remove_locked(const Key& key, Index::Id id, std::list<Removal>& removal) TC_REQUIRES(mutex);
  void enqueue_locked(std::list<Removal>& removal) noexcept TC_REQUIRES(mutex);
  // Forgets the entry unless its value was rewritten elsewhere since. `for_good`: the next start
  // must not use the record either; a removal is logged if that is cheap.
  void forget_at_locked(const Key& key, const Place& place, bool for_good = true) TC_REQUIRES(mutex);

  // Visits all entries in slices, between which other threads get the mutex, until `visit` returns
  // false. `visit` is called with the mutex held. THREADS: the writing thread, which alone inserts
  // and moves entries, so it misses none.
  void walk_index(const std::function<bool(Index::Id id)>& visit);
  // Forgets all entries of a segment and their descendants. `stays`: the file is kept. THREADS: the
  // writing thread.
  std::uint64_t forget_segment(std::uint32_t segment, bool stays);
};

}   // namespace tensorcache::disk
