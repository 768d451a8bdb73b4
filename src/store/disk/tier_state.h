// What the disk tier keeps account of: segments, what waits for the writing thread, and how far that has come.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file/file.h"
#include "store/disk/format.h"
#include "store/disk/index.h"
#include "store/disk/selection.h"
#include "tensorcache/types.h"

namespace tensorcache::disk {

struct DiskTierOptions {
  std::string directory;
  std::uint64_t capacity_bytes = std::uint64_t{20} << 30;   // all files together
  DiskSync sync = DiskSync::kSegment;
  std::uint64_t queue_bytes = std::uint64_t{64} << 20;   // values that wait to be written; more are dropped
  std::uint64_t segment_bytes = 0;                       // 0: 64 MiB, or what suits the capacity
  std::uint64_t index_bytes_limit = UINT64_MAX;          // memory of the index; see limit_index()
  std::chrono::milliseconds retry_pause{1000};           // after the disk failed; doubles up to a minute
  std::shared_ptr<file::FileSystem> files = file::real_file_system();
  std::function<std::int64_t()> unix_ms;       // now, wall time
  std::function<bool(std::uint64_t)> charge;   // so many bytes more are needed; false: they must not be taken. On the writing thread
  std::function<void(std::uint64_t)> give_back;
  std::function<bool(const Key&)> in_memory;          // in use there, though not read from here
  std::function<void(const std::string&)> on_event;   // a sentence for the log: trouble begins, is over, something was ignored
};

struct Value {
  Key key;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> holder;   // keeps `bytes` alive
  Kind kind = Kind::kOther;
  std::uint64_t owner = 0, source = 0;
  std::optional<Key> parent;
  std::int64_t created_unix_ms = 0, expires_unix_ms = 0;
};

struct Segment {
  std::uint64_t file_bytes = 0;
  std::uint64_t live = 0;             // entries of the index that point here
  std::uint64_t unlisted = 0;         // values in it that have no entry and that recovery may find again, at least
  bool has_removals = false;          // which hold for what older segments say
  std::shared_ptr<file::File> file;   // null: of another version, or not readable; only its bytes count
  SegmentHeader header;
  std::int64_t oldest_unix_ms = INT64_MAX, newest_unix_ms = INT64_MIN;   // of the values written to it: when they were stored
  void saw(std::int64_t created_unix_ms) {
    oldest_unix_ms = std::min(oldest_unix_ms, created_unix_ms);
    newest_unix_ms = std::max(newest_unix_ms, created_unix_ms);
  }
};

struct Write {   // a value, or a question
  Value value;
  std::uint64_t number = 0;
  bool forgotten = false;              // removed before it was written
  std::function<void(bool)> written;   // set: only a question
};

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

struct Batch {
  std::list<Write> values;
  std::list<Removal> removals;
};

struct Queued {   // values of one key in the queue, or being written
  std::uint32_t count = 0;
  std::uint64_t last = 0;   // number of the last one
  bool expires = false;     // that one does
};

struct Log {                   // the open segment; the writing thread's own
  std::uint32_t segment = 0;   // 0: none is open
  std::shared_ptr<file::File> file;
  SegmentHeader header;
  std::uint64_t end = 0;
  std::vector<Located> records;   // for the summary
  std::uint64_t charged = 0;      // for these
};

struct Health {   // of writing
  bool broken = false;
  std::string reason;
  std::chrono::steady_clock::time_point retry_at{};
  std::chrono::milliseconds pause{0};
};

// A walk over the log for what is to be overwritten. The writing thread's own.
struct Sweep {
  struct Dead {
    std::uint64_t offset = 0, bytes = 0;   // of the record, and of its value; or of bytes that are in no record
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

}   // namespace tensorcache::disk
