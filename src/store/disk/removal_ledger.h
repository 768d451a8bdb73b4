// Removals that are not in the log yet: the queue, and the names of removed values, so that none of
// these is stored, recovered, or confused with a later put. Assigns ascending numbers to writes and
// removals.
//
// A removal is in the ledger from enqueue() until settle(), including while it is being written.
//
// THREADS: none of its own; the disk tier holds its mutex around every call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

#include "store/disk/format.h"
#include "store/disk/index.h"
#include "store/disk/selection.h"
#include "store/disk/tier_state.h"
#include "tensorcache/key.h"

namespace tensorcache::disk {

struct Removal {
  RecordType type = RecordType::kRemove;   // kClearOwner: of everything that `what` selects
  bool clear_all = false;                  // removes everything
  bool complete = false;                   // `erased` lists every record of it
  Key key;
  Selected what;
  bool chained = false;   // see Wipe
  std::uint64_t number = 0;
  std::vector<Key> purged;   // keys of a purge
  std::vector<Place> erased;
};

class RemovalLedger {
 public:
  using Removals = std::list<Removal>;
  using Numbers = std::unordered_map<Key, std::uint64_t>;
  struct Clearing {   // a pending selection
    Selected what;
    std::uint64_t number;   // UINT64_MAX: in progress
  };
  static constexpr std::size_t kMaxRemovals = 32'768;
  static constexpr std::uint64_t kMaxPlaces = 262'144;   // places of removed records that wait to be overwritten; 12 bytes each
  static constexpr std::size_t kMaxPurged = 262'144;     // keys of queued purges; a single purge may have more

  std::uint64_t take_number() noexcept { return next_number_++; }

  // RETURNS true if the value was removed after the put with this number.
  [[nodiscard]] bool removed_since(const Value& value, std::uint64_t number) const;
  // RETURNS true if the ledger has a removal of the key, or of everything, after this number.
  [[nodiscard]] bool names_since(const Key& key, std::uint64_t number) const;
  // RETURNS true if a removal selects a record that is older than all removals.
  [[nodiscard]] bool names(const RecordHeader& header) const;
  // RETURNS true if a removal by owner, source or age, or a clear of everything in progress,
  // selects the record.
  [[nodiscard]] bool is_cleared(const RecordHeader& header) const;

  // RETURNS the number of removals, including those being written.
  [[nodiscard]] std::size_t size() const { return waiting_.size() + taken_; }
  [[nodiscard]] bool is_full() const { return size() >= kMaxRemovals; }
  [[nodiscard]] bool is_half_full() const { return size() >= kMaxRemovals / 2; }
  // RETURNS the number of places of erased records that may still be added.
  [[nodiscard]] std::uint64_t places_left() const { return kMaxPlaces - std::min(places_, kMaxPlaces); }
  [[nodiscard]] bool takes_purge(std::size_t keys) const { return keys_.size() <= kMaxRemovals || keys_.size() + keys <= kMaxPurged; }
  [[nodiscard]] std::size_t selections() const { return selections_.size(); }

  // A removal is first named, which may throw and has the strong exception guarantee, then queued,
  // which assigns the next number.
  void name(const Key& key) { keys_[key] = next_number_; }
  [[nodiscard]] Numbers prepare(std::span<const Key> keys);
  void name(Numbers& prepared) noexcept;
  void enqueue(Removals& removal) noexcept;

  // From here until the removal is settled, matching values get no entry and no new place. `node`:
  // memory for it.
  void begin_clear(const Selected& what, std::list<Clearing>& node);
  // REQUIRES: enqueue() of its removal follows under the same lock. One clear at a time.
  void end_clear(const Selected& what) noexcept;
  // Drops all other removals, because all files are deleted. `dropped` receives the queue.
  void clear_all(Removals& removal, Removals& dropped) noexcept;
  // Until then no value gets an entry.
  void begin_clear_all() noexcept { cleared_all_ = UINT64_MAX; }
  void end_clear_all() noexcept { cleared_all_ = next_number_++; }

  // Members for the writing thread.
  [[nodiscard]] const Removals& waiting() const { return waiting_; }
  // Moves the first removal to the end of `to`.
  void take(Removals& to) noexcept;
  // Puts [begin, end) back to their position in the queue.
  void put_back(Removals& from, Removals::iterator begin, Removals::iterator end) noexcept;
  // Forgets the names of [begin, end), which are in the log now, unless the same was removed again
  // since. `done` receives the removals.
  void settle(Removals& from, Removals::iterator begin, Removals::iterator end, Removals& done) noexcept;

 private:
  void forget_names(const Removal& removal) noexcept;
  void forget_taken(const Removal& removal) noexcept;

  std::uint64_t next_number_ = 1;
  Removals waiting_;
  std::size_t taken_ = 0;                                     // being written
  std::uint64_t places_ = 0, taken_places_ = 0;               // of all removals; of those being written
  Numbers keys_;                                              // of removals and purges by key
  std::unordered_map<std::uint64_t, std::uint64_t> owners_;   // by owner; UINT64_MAX: in progress
  std::list<Clearing> selections_;                            // by other selections
  std::uint64_t cleared_all_ = 0;                             // number of the last clear of everything; UINT64_MAX: in progress
  std::uint64_t clear_waits_ = 0;                             // the same, until it is settled
};

}   // namespace tensorcache::disk
