// Values on disk: an append-only log of segment files, an index in memory, and a byte budget that no file passes.
//
// Knows keys and bytes only. Values are immutable, so a log needs no compaction: a segment is sealed when it is full, and dropped whole
// when the budget needs the room, after what is still in use was written again at the log's end.
//
// Threads: every member may be called from any, but nothing is stored or removed after close(). One thread of its own writes (write-behind),
// evicts and recovers; reads happen on the caller's. `mutex_` guards what is in memory and is never held during I/O or a callback.
//
// Memory: the index and the records of the open segment are charged. Values that wait are bounded by `queue_bytes`, removals that wait by
// kMaxRemovals (about 200 bytes each), segments by kMaxSegments (about 300 bytes each). Overwriting what was deleted takes some 2 MiB.
//
// Exceptions: std::bad_alloc from put(), remove(), clear(), purge() or name_*() leaves everything as it was. On the writing thread it is a
// failure of the disk: the batch is dropped, removals are retried.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/core/mutex.h"
#include "store/disk/catalog.h"
#include "store/disk/health.h"
#include "store/disk/name_table.h"
#include "store/disk/names_and_hits.h"
#include "store/disk/open_files.h"
#include "store/disk/removal_ledger.h"
#include "store/disk/segment_reader.h"
#include "store/disk/sidecars.h"
#include "store/disk/tier_state.h"
#include "store/disk/write_queue.h"

namespace tensorcache::disk {

class DiskTier {
 public:
  // Takes the directory, making it if need be; what is stored there becomes visible soon after (wait_ready).
  // Throws std::runtime_error that names the directory: it cannot be used, or another process has it.
  explicit DiskTier(DiskTierOptions options);
  // close() with five seconds.
  ~DiskTier();
  DiskTier(const DiskTier&) = delete;
  DiskTier& operator=(const DiskTier&) = delete;

  using Value = disk::Value;
  // Queues a value. Never waits; false: it was dropped (the queue is full, the disk does not work, it is too large) and counted.
  bool put(Value value);
  // Whether a put() of so many bytes would be queued now.
  [[nodiscard]] bool accepts(std::uint64_t value_bytes) const;

  [[nodiscard]] bool contains(const Key& key) const { return presence(key) == Presence::kStored; }
  enum class Presence : std::uint8_t { kNotStored, kStored, kUnknown };   // kUnknown: the directory is still being read
  [[nodiscard]] Presence presence(const Key& key) const;
  // Whether it is stored, or waits to be.
  [[nodiscard]] bool knows(const Key& key) const;
  // Whether a value that is stored, or waits to be, is chained behind it.
  [[nodiscard]] bool has_children(const Key& key) const;
  // How many leading keys of the chain are stored. No I/O.
  [[nodiscard]] std::size_t peek(std::span<const Key> chain) const;
  [[nodiscard]] std::uint64_t bytes_of(std::span<const Key> keys) const;

  // What is known of a value before it is read.
  struct Found {
    Kind kind = Kind::kOther;
    std::uint64_t owner = 0, source = 0;
    std::size_t value_bytes = 0;
    std::optional<Key> parent;
  };
  using Reserve = std::function<std::span<std::byte>(std::size_t i, const Found& found)>;   // where to; another size: stop here
  enum class Verdict : std::uint8_t { kTaken, kMoved, kStop };                              // kMoved: holds() is false by now; look the key up again
  using Accept = std::function<Verdict(std::size_t i, const RecordHeader& header, const Place& place)>;
  enum class ReadEnd : std::uint8_t {
    kAll,
    kNotStored,   // the next key is not, or no longer; or it expired
    kStopped,     // the caller said so
    kFailed,      // the next one cannot be read or does not check out; it is forgotten
  };
  struct ReadResult {
    std::size_t accepted = 0;
    ReadEnd end = ReadEnd::kAll;
  };
  // Reads the leading run of `keys` that is stored and checks out, in order, several with one read where they lie side by side. A value
  // that is damaged, expired or cannot be read ends it and is forgotten.
  ReadResult read(std::span<const Key> keys, const Reserve& reserve, const Accept& accept);
  // Whether the key's value is (still) the one of this record: not removed, replaced or written again elsewhere since it was read.
  [[nodiscard]] bool holds(const Key& key, const Place& place) const;
  // The stored chain that ends with `key`, from its first value; empty if the key is not stored.
  [[nodiscard]] std::vector<Key> chain_of(const Key& key) const;
  // The first bytes of a value, as many as fit, without a check of the whole value's checksum: for what needs no more than a hint. Waits
  // for the disk. Nothing: it is not stored, expired, or cannot be read.
  [[nodiscard]] std::optional<std::size_t> read_head(const Key& key, std::span<std::byte> head) const;
  // How long reading so much takes, by what reads took lately; nothing while that is not known.
  [[nodiscard]] std::optional<double> read_seconds(std::uint64_t bytes) const;

  // Forgets at once; the removal is logged later. A key that is nowhere on this disk costs no write. Beyond kMaxRemovals that wait to be
  // logged, the whole log is dropped instead (DiskStats::collapsed_logs).
  bool remove(const Key& key);
  // Back-pressure for remove(): waits while half of kMaxRemovals wait and the disk works. To be called with no lock held. False: they
  // still do after `time`.
  bool wait_for_room(std::chrono::milliseconds time) const;
  // What is selected, and what is chained behind it: walks the index, in slices, and reads the ages of what some segments hold. What is put
  // meanwhile may be cleared, too. `meanwhile` is called, with no lock of use to it held, once nothing of it is found here any more; what is
  // put before that returns is cleared. Afterwards (flush) no byte of it is left, nor of what was selected and replaced or removed before.
  std::uint64_t clear(Selected what, const std::function<void()>& meanwhile = {});
  std::uint64_t clear(std::optional<std::uint64_t> owner) { return clear(Selected{owner, {}, {}, {}}); }
  // Forgets these and what is chained behind them, and writes the rest of their segments anew: afterwards (flush) no byte of them is left.
  std::uint64_t purge(std::span<const Key> keys);
  // Beyond kMaxNames of each they are dropped, and counted.
  void name_owner(std::uint64_t owner, const std::string& name);
  void name_source(std::uint64_t source, const std::string& name);
  [[nodiscard]] std::vector<std::uint64_t> sources_named(const std::string& name) const;
  void resize(std::uint64_t capacity_bytes);
  // Memory of the index, at most. Beyond it the oldest segments are evicted; at recovery only their entries.
  void limit_index(std::uint64_t bytes);
  // How large another component's file in the directory is, or is about to become: it counts in the capacity. Known files are also measured
  // once a second.
  void account_sidecar(const std::string& name, std::uint64_t bytes);

  // Calls `done` once everything that was put or removed before is in the log and as durable as `sync` promises (true), or was given up
  // (false). On the writing thread.
  void when_written(std::function<void(bool)> done);
  // Waits for that. False as well if it takes longer.
  bool flush(std::chrono::milliseconds time);
  // Until what the directory held is visible; false if that takes longer.
  bool wait_ready(std::chrono::milliseconds time) const;

  // Stops accepting, writes the removals that wait, then values until `time` is over, and seals the log. What may hold removed values and
  // cannot be marked as removed in time is unlinked. Takes `time`, the system call under way at its end, and the unlinks.
  // False: a value that was removed or replaced may be served after the next start, because neither writing nor unlinking works.
  // Values that were lost are no reason for that. Called again, it gives the same answer.
  bool close(std::chrono::milliseconds time);

  static constexpr std::size_t kMaxRemovals = RemovalLedger::kMaxRemovals;
  static constexpr std::size_t kMaxSegments = 16'384;

  [[nodiscard]] DiskStats stats() const;

 private:
  using Values = std::list<Write>::iterator;
  using Removals = std::list<Removal>::iterator;
  using Publish = std::function<bool(std::size_t i, const Place& place)>;   // false: there is no entry for it

  // disk_tier.cc
  [[nodiscard]] std::string path_of(std::uint64_t segment) const;
  [[nodiscard]] std::string path_of(const char* name) const;
  void note(const std::string& event) const;
  void set_name(NameTable::Of of, std::uint64_t number, const std::string& name);

  // queue.cc: under mutex_
  [[nodiscard]] bool must_log_removal_locked(const Key& key, Index::Id id) const TC_REQUIRES(mutex_);
  void remove_locked(const Key& key, Index::Id id, std::list<Removal>& removal) TC_REQUIRES(mutex_);
  void enqueue_locked(std::list<Removal>& removal) noexcept TC_REQUIRES(mutex_);

  // clear.cc
  struct Dropped {   // freed without the lock
    Index index;
    std::list<Removal> removals;
  };
  std::uint64_t clear_all_locked(std::list<Removal>& removal, Dropped& dropped) noexcept TC_REQUIRES(mutex_);
  std::uint64_t clear_all(std::list<Removal>& removal, const std::function<void()>& meanwhile);
  struct Walk;   // of one clear()
  void choose_segments_locked(Walk& walk) TC_REQUIRES(mutex_);
  void erase_of_class(Walk& walk) noexcept;
  void erase_by_age(Walk& walk, std::uint32_t segment) noexcept;
  void make_room_for_places(Walk& walk) noexcept;
  std::uint64_t erase_some_locked(Walk& walk, Index::Id id, std::size_t most) noexcept TC_REQUIRES(mutex_);

  // entries.cc: walks over the index, and its memory
  void walk_index(const std::function<bool(Index::Id id)>& visit);
  std::uint64_t forget_segment(std::uint32_t segment, bool stays);
  enum class Room : std::uint8_t { kYes, kLimit, kRefused };
  [[nodiscard]] Room grow_index(std::span<const EntryClass> classes);
  [[nodiscard]] bool reserve_entries(std::span<const EntryClass> classes);
  [[nodiscard]] std::size_t reserve_some_entries(std::span<const EntryClass> classes);
  [[nodiscard]] bool shrink_index(std::size_t spare);
  void trim_index();
  void give_back(std::uint64_t bytes) const;

  // recover.cc
  struct Orphans {                                        // values whose parent has not been seen yet
    std::unordered_map<Key, std::vector<Key>> children;   // by that parent
    std::size_t count = 0, room = 0;
  };
  [[nodiscard]] bool recover();
  void forget_directory() noexcept;
  [[nodiscard]] int recover_segment(std::uint32_t id, Orphans* orphans, SegmentContents* contents, std::vector<Located>* records);
  void recover_records(std::uint32_t segment, std::span<const Located> records, Orphans* orphans);
  void recover_value_locked(std::uint32_t segment, const Located& located, Orphans* orphans) TC_REQUIRES(mutex_);
  void recover_removal(std::uint32_t segment, const RecordHeader& header, Orphans* orphans);
  void reserve_orphans(Orphans* orphans, std::size_t more);
  [[nodiscard]] static std::vector<Key> take_orphans(Orphans* orphans, const Key& parent);
  void forget_orphans(const Orphans& orphans);
  void reserve_recovered(std::span<const EntryClass> classes);
  [[nodiscard]] Index::Id orphan_locked(const Key& key) const TC_REQUIRES(mutex_);
  void resume_log(std::uint32_t id, std::uint64_t end, std::vector<Located> records);

  // recover_wipes.cc
  [[nodiscard]] int recover_wipes(const std::vector<std::string>& files, std::vector<std::uint64_t>* ids);
  void apply_wipes_until(const LogPosition& position, Orphans* orphans);
  void apply_wipe(std::size_t i, Orphans* orphans);
  [[nodiscard]] EntryClass recovered_class(std::uint32_t segment, const Located& located) const;
  [[nodiscard]] int drop_segments(std::vector<std::uint64_t>* ids, const char* mark);

  // read.cc
  struct ReadExtent {   // records side by side in one segment
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
    bool unreadable = false;                     // as a whole: each may be tried alone
    bool moved = false;                          // the next record is elsewhere by now
    std::optional<ReadEnd> end = std::nullopt;   // set: nothing behind it can be read
  };
  static constexpr std::uint16_t kMaxHits = (1 << 14) - 1;
  static constexpr std::uint64_t kSpeedFromBytes = 16 << 10;   // shorter reads tell of latency only
  [[nodiscard]] ReadExtent locate(std::span<const Key> keys, std::size_t most) const;
  void read_ahead(std::span<const Key> keys) const;
  std::size_t read_run(ReadExtent& run, std::size_t first, const Reserve& reserve, const Accept& accept);
  [[nodiscard]] bool check_and_count(ReadExtent& run, const ReadExtent::Record& record, const RecordHeaderBytes& bytes,
                                     std::span<const std::byte> value, std::size_t i, const Accept& accept);
  void read_failed(ReadExtent& run, int error);
  void forget_at_locked(const Key& key, const Place& place, bool for_good = true) TC_REQUIRES(mutex_);

  // writer.cc
  void write_loop() noexcept;
  void step();
  template <class Work>
  void guarded(const Work& work) noexcept;
  void give_up() noexcept;
  [[nodiscard]] bool broken() const;
  [[nodiscard]] bool over_budget() const;
  [[nodiscard]] bool over_budget_locked() const TC_REQUIRES(mutex_);
  [[nodiscard]] bool has_work_locked() const TC_REQUIRES(mutex_);
  void take_batch_locked() noexcept TC_REQUIRES(mutex_);
  void write_batch();
  void write_stretch(std::uint64_t before);
  void answer(Values question, bool written);
  static void answer_all(const std::list<Write>& questions) noexcept;   // with no
  void forget_expired(Values begin, Values end);
  [[nodiscard]] std::vector<const Write*> wanted(Values begin, Values end);
  void write_values(Values begin, Values end);
  [[nodiscard]] bool publish_locked(const Write& write, const Place& place) TC_REQUIRES(mutex_);
  void done_with_values(Values begin, Values end) noexcept;

  // append.cc: to the end of the log
  static constexpr std::size_t kFreeRecords = 2048;   // of the open segment, not charged; more than a batch has
  // Records with their values, in pieces that fit a segment; false: it could not be written.
  [[nodiscard]] bool append(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values, bool may_evict,
                            const Publish& publish);
  [[nodiscard]] std::size_t fitting(std::span<const RecordHeader> headers, std::uint64_t* bytes) const;
  [[nodiscard]] int append_piece(std::span<const RecordHeader> headers, std::span<const std::span<const std::byte>> values,
                                 std::vector<Place>* places);
  [[nodiscard]] std::size_t most_records() const;
  [[nodiscard]] bool reserve_records(std::size_t count);
  void erase_unlisted(std::span<const Place> places);

  // removals.cc
  [[nodiscard]] bool log_removals(std::span<const RecordHeader> removals);
  void write_removals(Removals begin, Removals end);
  [[nodiscard]] bool erase_records(std::span<const Place> places);
  void clear_log(Removals clearing);
  void write_purge(Removals purge);
  [[nodiscard]] bool rewrite_segment(std::uint32_t segment);

  // scrub.cc: the bytes of what was cleared
  [[nodiscard]] bool add_wipes(Removals begin, Removals end);
  [[nodiscard]] bool save_wipes(const std::vector<Wipe>& wipes);
  void set_wipes(std::vector<Wipe> wipes);
  [[nodiscard]] bool wipes_before(std::uint64_t number) const;
  void sweep_some();
  void sweep_failed(int error);
  [[nodiscard]] bool sweep_is_due() const;
  [[nodiscard]] bool find_dead();
  [[nodiscard]] int find_dead_in(file::File& file, const SegmentHeader& header);
  [[nodiscard]] bool add_dead(std::span<const Located> records, std::uint64_t* end);
  void add_gap(std::uint64_t begin, std::uint64_t end);
  [[nodiscard]] bool is_dead_locked(const Located& located) TC_REQUIRES(mutex_);
  [[nodiscard]] int overwrite_some(file::File& file, const Salt& salt);
  void note_overwritten(const Located& located);
  void finish_sweep();
  void answer_parked(bool failed);

  // segments.cc: the log's files
  [[nodiscard]] int open_segment();
  void seal_segment();
  [[nodiscard]] bool sync_log();
  void abandon_segment();
  void close_log() noexcept;
  void remove_segment(std::uint32_t segment);
  void remove_empty_segments();

  // health.cc
  void fail(const char* what, int error);
  void heal();
  [[nodiscard]] bool owns_directory() const;
  void lose_directory();
  void look_after_directory();

  // sidecars.cc
  void measure_sidecars();
  void save_names();
  void save_usage();
  void read_saved_usage();

  // close.cc
  [[nodiscard]] bool late() const;
  [[nodiscard]] bool late_locked() const TC_REQUIRES(mutex_);
  [[nodiscard]] bool recovery_is_late() const;
  [[nodiscard]] bool removals_wait() const;
  void finish() noexcept;
  void write_last_removals();
  void write_last_values();
  [[nodiscard]] bool unlink_removed();
  [[nodiscard]] std::vector<std::uint32_t> segments_of_removed() const;
  [[nodiscard]] bool mark_stale();

  // evict.cc
  [[nodiscard]] std::uint64_t segment_bytes() const;
  [[nodiscard]] bool segment_exists(std::uint32_t segment) const;
  [[nodiscard]] std::size_t segment_count() const;
  [[nodiscard]] bool make_room(std::uint64_t bytes, std::size_t log_records, bool may_evict);
  [[nodiscard]] bool evict_oldest(bool keep_used);
  [[nodiscard]] std::vector<Key> worth_keeping(std::uint32_t victim);
  bool write_again(std::uint32_t victim, std::span<const Key> keys);

  const DiskTierOptions options_;
  std::unique_ptr<file::File> lock_;   // writing thread only, after construction
  OpenFiles open_files_;

  mutable Mutex mutex_;
  mutable CondVar changed_;
  Mutex clearing_mutex_ TC_ACQUIRED_BEFORE(mutex_);   // one clear() at a time
  std::uint64_t capacity_ TC_GUARDED_BY(mutex_), segment_bytes_ TC_GUARDED_BY(mutex_);
  std::uint64_t index_limit_ TC_GUARDED_BY(mutex_);
  bool index_limit_changed_ TC_GUARDED_BY(mutex_) = false;
  Catalog catalog_ TC_GUARDED_BY(mutex_);
  std::uint64_t charged_ TC_GUARDED_BY(mutex_) = 0;   // of the index; only the writing thread changes it
  Sidecars sidecars_ TC_GUARDED_BY(mutex_);
  std::uint32_t tick_ TC_GUARDED_BY(mutex_) = 1;   // of a write or a read
  WriteQueue queue_ TC_GUARDED_BY(mutex_);
  RemovalLedger ledger_ TC_GUARDED_BY(mutex_);
  std::size_t timed_wipes_ TC_GUARDED_BY(mutex_) = 0;      // of wipes_, those by age
  std::size_t clearing_walks_ TC_GUARDED_BY(mutex_) = 0;   // while there are any, no entry moves to another number
  NameTable names_ TC_GUARDED_BY(mutex_);
  bool ready_ TC_GUARDED_BY(mutex_) = false, closing_ TC_GUARDED_BY(mutex_) = false, closed_ TC_GUARDED_BY(mutex_) = false;
  std::chrono::steady_clock::time_point deadline_ TC_GUARDED_BY(mutex_), recovery_deadline_ TC_GUARDED_BY(mutex_);   // of closing
  bool nothing_comes_back_ TC_GUARDED_BY(mutex_) = false;                                                            // what close() says
  Health health_ TC_GUARDED_BY(mutex_);
  DiskStats counters_ TC_GUARDED_BY(mutex_);
  double seconds_per_byte_ TC_GUARDED_BY(mutex_) = 0;   // of reads, a running mean; 0: not known yet
  bool recovered_ = false;                              // changed under the mutex, by the writing thread, which may read it without

  // The writing thread's own.
  std::list<Write> writing_values_;       // being written
  std::list<Removal> writing_removals_;   // likewise
  Log log_;
  std::vector<Wipe> wipes_;   // as the file says; its size is counters_.pending_wipes
  std::size_t applied_ = 0;   // of these, while recovering: their place in the log was passed
  Sweep sweep_;
  std::uint32_t tried_in_ = 0;                         // the segment in which overwriting failed last
  int tries_ = 0;                                      // and how often
  std::chrono::steady_clock::time_point sweep_at_{};   // not before that
  std::list<Write> parked_;                            // questions that wait for wipes
  std::uint64_t unpublished_ = 0;                      // values of the piece that is being written
  std::uint64_t orphans_charged_ = 0;
  std::uint32_t last_segment_ = 0;   // the highest id that was seen in the directory
  std::uint64_t hits_saved_ = 0;     // as of the last save_usage()
  bool lost_some_ = false;           // since it was last asked (Write::written)
  std::chrono::steady_clock::time_point look_at_{}, usage_at_{};
  std::once_flag joined_;
  std::thread writer_;
};

}   // namespace tensorcache::disk
