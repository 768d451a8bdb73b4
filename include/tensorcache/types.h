// Types that every tier of the cache shares: what a value is, how it is stored, and what the statistics say.
//
//   tensorcache::PutOptions options{.kind = tensorcache::Kind::kAnswer, .owner = 7, .cost_seconds = 2.5F};
//   if (cache.put(key, value, options) == tensorcache::PutStatus::kNoSpace) report("the budget is full of pinned entries");
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

// What a value is. Stored in formats later: add, never renumber.
enum class Kind : std::uint8_t { kOther = 0, kAnswer = 1, kPrefixBlock = 2, kTensor = 3 };
inline constexpr std::size_t kKindCount = 4;
[[nodiscard]] std::string_view kind_name(Kind kind);

// What a power cut may take. A process that dies, however it dies, loses only what still waited to be written.
enum class DiskSync : std::uint8_t {
  kNone,      // as much as the system has not written out by itself: half a minute's worth, usually
  kSegment,   // at most the segment that is being filled
  kRecord,    // nothing that flush() has said true to
};

// Values on disk as well, under the memory: written behind, read back on a miss, still there at the next start.
struct DiskOptions {
  std::string directory;                                    // the cache's own; one process at a time
  std::uint64_t capacity_bytes = std::uint64_t{20} << 30;   // all files together, hard
  DiskSync sync = DiskSync::kSegment;
  // Values that wait to be written, in memory that they share with their readers; further ones are not written. 0: an eighth of the
  // memory, 256 MiB at most.
  std::uint64_t queue_bytes = 0;
  std::uint64_t segment_bytes = 0;                    // of a file, roughly; 0: suits the capacity, 64 MiB or more
  std::function<void(const std::string&)> on_event;   // a sentence for a log when the disk fails or works again; any thread
  std::shared_ptr<file::FileSystem> file_system;      // null: the real one. For tests
  std::function<std::int64_t()> unix_ms;              // wall time now; empty: the system\'s. For tests
};

struct PutOptions {
  Kind kind = Kind::kOther;
  // Groups entries for `clear(owner)`, `list` and `stats(owner)`; for example a tenant. It is not part of the key:
  // whoever must not see another's entries puts the owner into the key as well.
  std::uint64_t owner = 0;
  // What it came from, for example a model, for lists of what is on disk; likewise no part of the key.
  std::uint32_t source = 0;
  // Chains this value behind another (the block before it in a prefix). The parent must be stored when this is committed, and is never
  // evicted before its children, drafts included.
  std::optional<Key> parent = std::nullopt;
  // What computing it again would take; "gdsf" keeps what saves most seconds for its bytes.
  float cost_seconds = 1;
  // Not served after this long since it was stored, nor after its parent expired; 0: never expires. An expired value is removed when a lookup
  // or a put meets it. Its descendants have expired too; each is removed when it is met, or evicted.
  std::chrono::milliseconds time_to_live{0};
  Hints hints = {};
  // Takes the place of what is stored under the key, unless something is chained behind that, in memory or on disk (a removed value that is
  // still pinned, or waits to be written, counts): at once, so that no lookup finds neither. Until then the older one stays, and is given up before
  // only where there is no other room.
  bool replaces = false;
};

// What to delete: all that is given must match. Nothing given: everything.
struct Selection {
  std::optional<std::uint64_t> owner = std::nullopt;                    // PutOptions::owner
  std::optional<std::uint32_t> source = std::nullopt;                   // PutOptions::source: what came from one model
  std::optional<std::chrono::milliseconds> older_than = std::nullopt;   // stored at least so long ago, by the wall clock for what is on disk
};

// Where to look: in memory and, where there is a disk tier, on disk as well, which waits for the disk; or only where it costs no wait.
enum class Tiers : std::uint8_t { kAll, kMemoryOnly };

enum class PutStatus : std::uint8_t {
  kStored,
  kAlreadyStored,   // somebody was faster; values are immutable, so this one is dropped
  kTooLarge,        // larger than the whole budget
  kNoSpace,         // everything that could go is pinned, is being written or, to the policy, is worth more
  kParentMissing,   // `parent` is not stored (any more)
};
[[nodiscard]] std::string_view put_status_name(PutStatus status);

struct KindStats {
  std::uint64_t entries = 0;
  std::uint64_t value_bytes = 0;     // what callers stored
  std::uint64_t charged_bytes = 0;   // what that takes of the budget
};

struct Stats {
  std::uint64_t capacity_bytes = 0;
  // What is charged now. Includes buffers of large values that were freed and are kept for the next ones: up to a sixteenth of the
  // capacity (or one buffer), given up as soon as anything else needs the room, and at clear(). Never above capacity_bytes, except
  // while a resize below what is pinned is pending.
  std::uint64_t used_bytes = 0;
  std::uint64_t peak_bytes = 0;
  // Values asked for; match() counts every key of its chain. One that has to be read from disk is a miss here, and a hit in DiskStats.
  std::uint64_t hits = 0, misses = 0;
  std::uint64_t puts = 0;                                       // kStored
  std::uint64_t rejected_puts = 0;                              // kTooLarge, kNoSpace, kParentMissing
  std::uint64_t evictions = 0, expirations = 0, removals = 0;   // values that went; remove() and clear() are removals
  KindStats kinds[kKindCount];
  // Of used_bytes, what is no value's: what the policy remembers, tables of the index, and memory that is kept for the next values.
  std::uint64_t policy_bytes = 0, table_bytes = 0, idle_bytes = 0;
};

struct DiskStats {
  std::string directory;                              // empty: there is no disk tier
  std::uint64_t capacity_bytes = 0, used_bytes = 0;   // of all files
  std::uint64_t entries = 0, value_bytes = 0, segments = 0;
  std::uint64_t index_bytes = 0;   // memory of its index, which counts in Stats::used_bytes
  std::uint64_t queued_bytes = 0;
  bool ready = false;                // what the directory held at start is visible
  std::int64_t newest_unix_ms = 0;   // of that: when the last was stored or removed, by the wall clock of then
  bool degraded = false;             // nothing can be written now
  std::string reason;                // why it is
  std::uint64_t hits = 0, read_bytes = 0;
  std::uint64_t skipped_loads = 0, late_loads = 0;   // computing was faster; loading took longer than it was given
  std::uint64_t puts = 0, accepted_bytes = 0, written_bytes = 0;
  std::uint64_t dropped_puts = 0, too_large_puts = 0;   // the disk was slower than the work, or did not work; larger than a segment
  std::uint64_t index_full = 0;                         // no memory for one more entry
  std::uint64_t evictions = 0, expirations = 0, written_again = 0, written_again_bytes = 0;
  std::uint64_t corrupt_records = 0, lost_bytes = 0, damaged_segments = 0, unknown_segments = 0;
  std::uint64_t read_errors = 0, write_errors = 0;
  std::uint64_t queued_removals = 0;       // wait to be logged; bounded, see collapsed_logs
  std::uint64_t pending_wipes = 0;         // deletions by clear() whose bytes are not all overwritten yet; flush() waits for them
  std::uint64_t collapsed_logs = 0;        // times that too many removals waited, so that the whole log was dropped instead
  std::uint64_t unlisted_records = 0;      // values in the log that have no entry; while there are any, each removal is logged
  std::uint64_t sidecar_bytes = 0;         // of the files beside the segments; part of used_bytes
  std::uint64_t open_files = 0;            // segments that are open; others are opened when they are read
  std::uint64_t unavailable_lookups = 0;   // of values that are stored and could not be read, see Lookup
  std::uint64_t dropped_names = 0;         // of owners and sources, of which 65,536 each are kept
};

struct EntryInfo {
  Key key;
  Kind kind = Kind::kOther;
  std::uint64_t owner = 0;
  std::uint64_t value_bytes = 0;
  std::uint64_t hits = 0;
  std::chrono::milliseconds age{0};
  bool chained = false;   // has a parent
};

}   // namespace tensorcache
