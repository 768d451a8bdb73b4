// Overwrites the bytes of what was cleared or purged: noted in a file of the
// directory first, then looked for in every segment and overwritten where they
// stand, also those of versions that were replaced or removed before. In
// pieces, between which the writing thread does its other work; what is not
// done at the end, the next start goes on with.
//
// THREADS: the writing thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "store/disk/segment_log.h"
#include "store/disk/selection.h"

namespace tensorcache::disk {

class Scrubber {
 public:
  using Removals = std::list<Removal>::iterator;
  Scrubber(DiskState& state, SegmentLog& log) : state_(state), log_(log) {}
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  // What is to be overwritten, as the file says.
  [[nodiscard]] const std::vector<Wipe>& wipes() const { return wipes_; }
  void set_wipes(std::vector<Wipe> wipes);
  // Those of these removals that name what is to be overwritten. From here on
  // they are kept, whatever happens. False: they are not.
  [[nodiscard]] bool add_wipes(Removals begin, Removals end);
  // The log went as a whole, and everything with it.
  void forget_all();
  // Whether what was removed before this number is still to be overwritten.
  [[nodiscard]] bool wipes_before(std::uint64_t number) const;

  // Not before that; REQUIRES that there are wipes.
  [[nodiscard]] std::chrono::steady_clock::time_point sweep_at() const { return sweep_at_; }
  [[nodiscard]] bool wants_time() const { return !wipes_.empty() && state_.recovered && std::chrono::steady_clock::now() >= sweep_at_; }
  [[nodiscard]] bool sweep_is_due() const { return wants_time() && !state_.broken(); }
  // One piece of it.
  void sweep_some();
  // The walk begins anew.
  void restart() noexcept { sweep_ = {}; }

  // Questions that are answered when what was removed before them is
  // overwritten.
  void park(std::list<Write>& from, std::list<Write>::iterator question) noexcept { parked_.splice(parked_.end(), from, question); }
  // Answers those that wait for nothing any more; all of them with no, if the
  // disk does not work.
  void answer_parked(bool failed);
  void take_parked(std::list<Write>& to) noexcept { to.splice(to.end(), parked_); }

 private:
  struct Sweep {   // a walk over the log for what is to be overwritten
    struct Dead {
      std::uint64_t offset = 0, bytes = 0;   // of the record, and of its value;
                                             // or of bytes that are in no record
      bool record = true;
    };
    bool going = false;
    std::uint32_t segment = 0;   // where it is, or was last
    std::uint64_t from = 0;      // what begins before this in it was looked at
    bool more = false;           // there is more in it
    std::vector<Dead> dead;      // to be overwritten
    std::size_t at = 0;          // of these, the next one
    std::uint64_t done = 0;      // bytes of that one
  };

  [[nodiscard]] bool save_wipes(const std::vector<Wipe>& wipes);
  void sweep_failed(int error);
  [[nodiscard]] bool find_dead();
  [[nodiscard]] int find_dead_in(file::File& file, const SegmentHeader& header);
  [[nodiscard]] bool add_dead(std::span<const Located> records, std::uint64_t* end);
  void add_gap(std::uint64_t begin, std::uint64_t end);
  [[nodiscard]] bool is_dead_locked(const Located& located) TC_REQUIRES(state_.mutex);
  [[nodiscard]] int overwrite_some(file::File& file, const Salt& salt);
  void finish_sweep();

  DiskState& state_;
  SegmentLog& log_;
  std::vector<Wipe> wipes_;   // its size is counters.pending_wipes
  Sweep sweep_;
  std::uint32_t tried_in_ = 0;   // the segment in which overwriting failed last
  int tries_ = 0;                // and how often
  std::chrono::steady_clock::time_point sweep_at_{};
  std::list<Write> parked_;
};

}   // namespace tensorcache::disk
