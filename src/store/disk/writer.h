// The writing thread: moves the queue to the end of the log. It alone writes, evicts, overwrites
// and recovers.
//
// THREADS: start() and join() from the tier's owner, other members on the writing thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "store/disk/directory.h"
#include "store/disk/disk_reader.h"
#include "store/disk/disk_state.h"
#include "store/disk/scrubber.h"
#include "store/disk/segment_log.h"
#include "store/disk/side_files.h"

namespace tensorcache::disk {

class Writer {
 public:
  Writer(DiskState& state, Directory& directory, DiskReader& reader);
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  // REQUIRES: join() before destruction. DiskState::closing ends the thread.
  void start();
  void join();

 private:
  using Values = std::list<Write>::iterator;
  using Removals = std::list<Removal>::iterator;

  // writer.cc
  void write_loop() noexcept;
  void step();
  template <class Work>
  void guarded(const Work& work) noexcept;
  void give_up() noexcept;
  [[nodiscard]] bool recover();
  void heal();
  void offer_room() noexcept;
  [[nodiscard]] bool offers_room_locked() const TC_REQUIRES(state_.mutex);
  [[nodiscard]] bool has_work_locked() const TC_REQUIRES(state_.mutex);
  void take_batch_locked() noexcept TC_REQUIRES(state_.mutex);

  // batch.cc: values
  void write_batch();
  void write_stretch(std::uint64_t before);
  void answer(Values question, bool written);
  static void answer_all(const std::list<Write>& questions) noexcept;   // answers false
  void forget_expired(Values begin, Values end);
  [[nodiscard]] std::vector<const Write*> wanted(Values begin, Values end, std::vector<const Write*>& orphans);
  void write_values(Values begin, Values end);
  enum class Published : std::uint8_t { kYes, kRemoved, kOrphan };
  [[nodiscard]] Published publish_locked(const Write& write, const Place& place) TC_REQUIRES(state_.mutex);
  void lose(const Write& write) noexcept;
  void done_with_values(Values begin, Values end) noexcept;

  // removals.cc
  void write_removals(Removals begin, Removals end);
  void clear_log(Removals clearing);
  void write_purge(Removals purge);

  // close.cc
  void finish() noexcept;
  void write_last_removals();
  void write_last_values();
  [[nodiscard]] bool unlink_removed();
  [[nodiscard]] std::vector<std::uint32_t> segments_of_removed() const;

  DiskState& state_;
  Directory& directory_;
  DiskReader& reader_;
  SegmentLog log_;
  Scrubber scrubber_;
  SideFiles side_files_;
  std::list<Write> writing_values_;       // taken from the queue, being written
  std::list<Removal> writing_removals_;   // taken from the ledger, being written
  bool lost_some_ = false;                // some writes were lost since the last answer (Write::written)
  std::chrono::steady_clock::time_point look_at_{}, usage_at_{}, offer_at_{};
  std::once_flag joined_;
  std::thread thread_;
};

}   // namespace tensorcache::disk
