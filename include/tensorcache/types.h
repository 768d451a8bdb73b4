// Types shared by all tiers: kinds of values, options of writes, selections, and statistics.
//
//   tensorcache::PutOptions options{.owner = 7, .cost_seconds = 2.5F};
//   const auto status = cache.put(key, value, options);
//   if (status == tensorcache::PutStatus::kNoSpace) report("the budget is full of pinned entries");
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tensorcache/hints.h"
#include "tensorcache/key.h"

namespace tensorcache {

namespace file {
class FileSystem;
}   // namespace file

// The kind of a value. Stored in formats: add, never renumber.
enum class Kind : std::uint8_t { kOther = 0, kAnswer = 1, kPrefixBlock = 2, kTensor = 3 };
inline constexpr std::size_t kKindCount = 4;
[[nodiscard]] std::string_view kind_name(Kind kind);

// Durability on power loss. A killed process loses only the write-behind queue.
enum class DiskSync : std::uint8_t {
  kNone,      // values are not synced: usually the last 30 s are lost
  kSegment,   // fsync per segment: at most the open segment is lost
  kRecord,    // fsync after every batch: nothing is lost for which flush() returned true
};

// The disk tier below memory: values are written asynchronously (write-behind), loaded on a miss,
// and survive a restart.
struct DiskOptions {
  std::string directory;                                    // used by this cache only; one process at a time
  std::uint64_t capacity_bytes = std::uint64_t{20} << 30;   // hard limit on all files together
  DiskSync sync = DiskSync::kSegment;
  // Limit of the write-behind queue. Its values stay in memory until they are written; further ones
  // are queued when there is room, if they are still in memory then. While the disk does not work,
  // all values wait like this. Values stored with PutOptions::urgent may exceed it by an eighth.
  // 0: half of the memory budget.
  std::uint64_t queue_bytes = 0;
  std::uint64_t segment_bytes = 0;   // approximate file size; 0: derived from the capacity, at least 64 MiB
  // Receives a log message when the disk fails or works again, or values are lost; any thread.
  // REQUIRES: it does not use the cache.
  std::function<void(const std::string&)> on_event;
  std::shared_ptr<file::FileSystem> file_system;   // null: the real one. For tests
  std::function<std::int64_t()> unix_ms;           // wall time now; empty: the system's. For tests
};

struct PutOptions {
  Kind kind = Kind::kOther;
  // Groups entries for `clear(owner)`, `list` and `stats(owner)`; for example a tenant. It is not
  // part of the key: to separate owners, put the owner into the key as well.
  std::uint64_t owner = 0;
  // Where the value came from, for example a model, for listing and deletion; not part of the key
  // either.
  std::uint32_t source = 0;
  // Chains this value behind another one (the previous block of a prefix). REQUIRES: the parent is
  // stored when this value is committed. A parent is never evicted before its children,
  // reservations included.
  std::optional<Key> parent = std::nullopt;
  // Time that computing the value again would take; used by the policy "gdsf" (cost x frequency /
  // size).
  float cost_seconds = 1;
  // The value expires this long after it was stored, or with its parent; 0: never. An expired value
  // is not served; it is removed when a lookup or put meets it. Its descendants have expired, too;
  // each is removed when met, or evicted.
  std::chrono::milliseconds time_to_live{0};
  Hints hints = {};
  // Replaces the stored value atomically: no lookup finds neither. Refused if the stored value has
  // children, in memory or on disk (including removed ones that are still pinned or queued). The
  // old value is kept until then, and is dropped earlier only if there is no other space.
  bool replaces = false;
  // For a value that must not be lost between memory and disk, such as a counter: part of the
  // disk's queue is kept free for it, and storing it waits up to a second while that is full.
  bool urgent = false;
};

// Selects entries to delete: all given fields must match. No field given: all entries.
struct Selection {
  std::optional<std::uint64_t> owner = std::nullopt;                    // PutOptions::owner
  std::optional<std::uint32_t> source = std::nullopt;                   // PutOptions::source, e.g. one model
  std::optional<std::chrono::milliseconds> older_than = std::nullopt;   // stored at least so long ago, by the wall clock on disk
};

// The tiers that a lookup uses: all tiers, which may wait for a disk; or memory only, which never
// waits.
enum class Tiers : std::uint8_t { kAll, kMemoryOnly };

enum class PutStatus : std::uint8_t {
  kStored,
  kAlreadyStored,   // a value is stored already; values are immutable, so the new one is dropped
  kTooLarge,        // larger than the whole budget
  kNoSpace,         // every other entry is pinned or being written, or the policy did not admit this one
  kParentMissing,   // `parent` is not stored, or no longer
};
[[nodiscard]] std::string_view put_status_name(PutStatus status);

struct KindStats {
  std::uint64_t entries = 0;
  std::uint64_t value_bytes = 0;     // size of the stored values
  std::uint64_t charged_bytes = 0;   // what they take of the budget
};

struct Stats {
  std::uint64_t capacity_bytes = 0;
  // Bytes charged now. Includes idle buffers of large values that are kept for reuse: up to 1/16 of
  // the capacity (or one buffer), released when other entries need the space, and at clear(). Never
  // above capacity_bytes, except after a resize below the size of the pinned entries.
  std::uint64_t used_bytes = 0;
  std::uint64_t peak_bytes = 0;
  // Lookups in memory; match() counts every key of its chain. A value read from disk is a miss here
  // and a hit in DiskStats.
  std::uint64_t hits = 0, misses = 0;
  std::uint64_t puts = 0;                                       // kStored
  std::uint64_t rejected_puts = 0;                              // kTooLarge, kNoSpace, kParentMissing
  std::uint64_t evictions = 0, expirations = 0, removals = 0;   // remove() and clear() count as removals
  KindStats kinds[kKindCount];
  // Parts of used_bytes that belong to no value: the policy's history, index tables, and idle
  // buffers.
  std::uint64_t policy_bytes = 0, table_bytes = 0, idle_bytes = 0;
};

struct DiskStats {
  std::string directory;                              // empty: there is no disk tier
  std::uint64_t capacity_bytes = 0, used_bytes = 0;   // of all files
  std::uint64_t entries = 0, value_bytes = 0, segments = 0;
  std::uint64_t index_bytes = 0;                     // memory of the index; part of Stats::used_bytes
  std::uint64_t queued_bytes = 0;                    // values in the write-behind queue
  std::uint64_t pending_bytes = 0;                   // these, and values that wait for room in the queue or for the disk
  bool ready = false;                                // recovery is complete
  std::int64_t newest_unix_ms = 0;                   // wall time of the last recovered put or removal
  bool degraded = false;                             // the disk cannot be written now
  std::string reason;                                // why it is degraded; empty if it is not
  std::uint64_t hits = 0, read_bytes = 0;            // values read from disk
  std::uint64_t skipped_loads = 0, late_loads = 0;   // computing was faster; the load exceeded its timeout
  std::uint64_t puts = 0, accepted_bytes = 0, written_bytes = 0;
  std::uint64_t dropped_puts = 0, too_large_puts = 0;   // not written: evicted first, or could not wait; larger than a segment
  std::uint64_t index_full = 0;                         // no memory for another index entry
  std::uint64_t evictions = 0, expirations = 0, written_again = 0, written_again_bytes = 0;
  std::uint64_t corrupt_records = 0, lost_bytes = 0, damaged_segments = 0, unknown_segments = 0;
  std::uint64_t read_errors = 0, write_errors = 0;
  std::uint64_t queued_removals = 0;       // not logged yet; bounded, see collapsed_logs
  std::uint64_t pending_wipes = 0;         // deletions by clear() whose bytes are not all overwritten yet; flush() waits for them
  std::uint64_t collapsed_logs = 0;        // times the whole log was dropped because too many removals were queued
  std::uint64_t unlisted_records = 0;      // records without an index entry; while there are any, every removal is logged
  std::uint64_t sidecar_bytes = 0;         // size of the other files; part of used_bytes
  std::uint64_t open_files = 0;            // open segment files; others are opened on demand
  std::uint64_t unavailable_lookups = 0;   // misses of stored values that could not be read, see Lookup
  std::uint64_t dropped_names = 0;         // names of owners and sources beyond 65,536 each
};

struct EntryInfo {
  Key key;
  Kind kind = Kind::kOther;
  std::uint64_t owner = 0;
  std::uint64_t value_bytes = 0;      // size of the stored value
  std::uint64_t hits = 0;             // lookups that returned it
  std::chrono::milliseconds age{0};   // since it was stored
  bool chained = false;               // has a parent
};

}   // namespace tensorcache
