// Removals that the log does not say yet: the queue of them, and what they name, so that no value
// that was removed is stored, read again at recovery, or taken for one that was put later. Numbers
// the writes and removals in the order in which they are asked for.
//
// A removal is in the ledger from enqueue() until settle(), while it is being written included.
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
  RecordType type = RecordType::kRemove;   // kClearOwner: of all that `what` names
  bool clear_all = false;                  // of everything
  bool complete = false;                   // `erased` names every record of it
  Key key;
  Selected what;
  bool chained = false;   // as in Wipe
  std::uint64_t number = 0;
  std::vector<Key> purged;   // a purge of these
  std::vector<Place> erased;
};

class RemovalLedger {
 public:
  using Removals = std::list<Removal>;
  using Numbers = std::unordered_map<Key, std::uint64_t>;
  struct Clearing {   // of a selection
    Selected what;
    std::uint64_t number;   // UINT64_MAX: is going on
  };
  static constexpr std::size_t kMaxRemovals = 32'768;
  static constexpr std::uint64_t kMaxPlaces = 262'144;   // of removed records that wait to be overwritten; 12 bytes each
  static constexpr std::size_t kMaxPurged = 262'144;     // keys of purges that wait, but for one purge that has more

  std::uint64_t take_number() noexcept { return next_number_++; }

  // Whether a value with this number was removed after it was put.
  [[nodiscard]] bool removed_since(const Value& value, std::uint64_t number) const;
  // Whether a removal of the key or of everything is in the ledger that came after this number.
  [[nodiscard]] bool names_since(const Key& key, std::uint64_t number) const;
  // Whether any removal names a record that is older than all of them.
  [[nodiscard]] bool names(const RecordHeader& header) const;
  // Whether a removal by owner, source or age names it, or one of everything that is going on.
  [[nodiscard]] bool is_cleared(const RecordHeader& header) const;

  // All removals, those that are being written included.
  [[nodiscard]] std::size_t size() const { return waiting_.size() + taken_; }
  [[nodiscard]] bool is_full() const { return size() >= kMaxRemovals; }
  [[nodiscard]] bool is_half_full() const { return size() >= kMaxRemovals / 2; }
  // How many places of erased records it still takes.
  [[nodiscard]] std::uint64_t places_left() const { return kMaxPlaces - std::min(places_, kMaxPlaces); }
  [[nodiscard]] bool takes_purge(std::size_t keys) const { return keys_.size() <= kMaxRemovals || keys_.size() + keys <= kMaxPurged; }
  [[nodiscard]] std::size_t selections() const { return selections_.size(); }

  // A removal is named first, which may throw and has the strong guarantee; then put into the
  // queue, which gives it the next number.
  void name(const Key& key) { keys_[key] = next_number_; }
  [[nodiscard]] Numbers prepare(std::span<const Key> keys);
  void name(Numbers& prepared) noexcept;
  void enqueue(Removals& removal) noexcept;

  // From here on nothing that matches gets an entry or another place, until the removal is settled.
  // `node`: memory for it.
  void begin_clear(const Selected& what, std::list<Clearing>& node);
  // REQUIRES: enqueue() of its removal follows under the same lock. One clear at a time.
  void end_clear(const Selected& what) noexcept;
  // All others are dropped, as the files go as a whole. `dropped` gets what waited.
  void clear_all(Removals& removal, Removals& dropped) noexcept;
  // Nothing gets an entry in between.
  void begin_clear_all() noexcept { cleared_all_ = UINT64_MAX; }
  void end_clear_all() noexcept { cleared_all_ = next_number_++; }

  // The writing thread's side.
  [[nodiscard]] const Removals& waiting() const { return waiting_; }
  // Moves the first one to the end of `to`.
  void take(Removals& to) noexcept;
  // Those of [begin, end) go back to where they were in the queue.
  void put_back(Removals& from, Removals::iterator begin, Removals::iterator end) noexcept;
  // Those of [begin, end) are in the log: what they name is forgotten, unless the same was removed
  // once more since. `done` gets them.
  void settle(Removals& from, Removals::iterator begin, Removals::iterator end, Removals& done) noexcept;

 private:
  void forget_names(const Removal& removal) noexcept;
  void forget_taken(const Removal& removal) noexcept;

  std::uint64_t next_number_ = 1;
  Removals waiting_;
  std::size_t taken_ = 0;                                     // that are being written
  std::uint64_t places_ = 0, taken_places_ = 0;               // in all of them; in those
  Numbers keys_;                                              // of removals and purges, by key
  std::unordered_map<std::uint64_t, std::uint64_t> owners_;   // likewise, by owner; UINT64_MAX: is going on
  std::list<Clearing> selections_;                            // likewise, of other selections
  std::uint64_t cleared_all_ = 0;                             // the last clear of everything; UINT64_MAX: is going on
  std::uint64_t clear_waits_ = 0;                             // that one, until it is settled
};

}   // namespace tensorcache::disk
