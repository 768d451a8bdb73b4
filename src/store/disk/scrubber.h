// Overwrites the bytes of cleared and purged values: saves the wipes in a file of the directory,
// then searches every segment for matching records, including replaced and removed versions, and
// overwrites them. Works in small steps between the writing thread's other work; the next start
// continues unfinished wipes.
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

  // RETURNS the pending wipes, as saved in the file.
  [[nodiscard]] const std::vector<Wipe>& wipes() const { return wipes_; }
  void set_wipes(std::vector<Wipe> wipes);
  // Adds the wipes among these removals. They are kept from here on, even if a later step fails.
  // RETURNS false if they could not be added.
  [[nodiscard]] bool add_wipes(Removals begin, Removals end);
  // Drops all wipes, because the whole log was deleted.
  void forget_all();
  // RETURNS true if a removal before this number is not overwritten yet.
  [[nodiscard]] bool wipes_before(std::uint64_t number) const;

  // RETURNS the time of the next step. REQUIRES: there are wipes.
  [[nodiscard]] std::chrono::steady_clock::time_point sweep_at() const { return sweep_at_; }
  [[nodiscard]] bool wants_time() const { return !wipes_.empty() && state_.recovered && std::chrono::steady_clock::now() >= sweep_at_; }
  [[nodiscard]] bool sweep_is_due() const { return wants_time() && !state_.broken(); }
  // Does one step of the sweep.
  void sweep_some();
  // Restarts the sweep.
  void restart() noexcept { sweep_ = {}; }

  // Parks questions until everything removed before them is overwritten.
  void park(std::list<Write>& from, std::list<Write>::iterator question) noexcept { parked_.splice(parked_.end(), from, question); }
  // Answers parked questions whose wipes are complete; all of them with false if the disk is
  // broken.
  void answer_parked(bool failed);
  void take_parked(std::list<Write>& to) noexcept { to.splice(to.end(), parked_); }

 private:
  struct Sweep {   // a sweep over the log
    struct Dead {
      std::uint64_t offset = 0, bytes = 0;   // of the record, and of its value; or of bytes outside of records
      bool record = true;
    };
    bool going = false;
    std::uint32_t segment = 0;   // present or last segment
    std::uint64_t from = 0;      // records before this offset are done
    bool more = false;           // the segment has more
    std::vector<Dead> dead;      // to be overwritten
    std::size_t at = 0;          // the next one of `dead`
    std::uint64_t done = 0;      // bytes done of that one
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
  int tries_ = 0;                // the number of failures there
  std::chrono::steady_clock::time_point sweep_at_{};
  std::list<Write> parked_;
};

}   // namespace tensorcache::disk
