#include "store/disk/scrubber.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/core/call_back.h"
#include "store/disk/segment_reader.h"

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{4} << 20;
constexpr std::size_t kPieceRecords = 1024;
constexpr std::size_t kMaxDead = 65'536;       // dead records collected per step
constexpr std::size_t kRecordsAtOnce = 256;    // records looked up per hold of the mutex
constexpr std::size_t kZeroBytes = 64 << 10;   // per write
constexpr int kMaxDoublings = 6;
constexpr int kTriesInASegment = 3;   // then the segment is deleted

bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM; }

}   // namespace

void Scrubber::set_wipes(std::vector<Wipe> wipes) {
  wipes_ = std::move(wipes);
  const MutexLock lock(state_.mutex);
  state_.counters.pending_wipes = wipes_.size();
  state_.timed_wipes =
      static_cast<std::size_t>(std::count_if(wipes_.begin(), wipes_.end(), [](const Wipe& wipe) { return wipe.what.until_unix_ms.has_value(); }));
}

// Saves the list durably. Makes space for it first.
bool Scrubber::save_wipes(const std::vector<Wipe>& wipes) {
  if (!log_.owns_directory()) return false;
  const std::string name = kWipesFile, next = name + ".next";
  const std::uint64_t bytes = wipes.empty() ? 0 : encode_wipes(wipes).size();
  state_.account_sidecar(next, bytes);
  while (state_.over_budget() && !state_.late() && log_.evict_oldest(false)) {
  }
  int error = 0;
  do {
    error = write_wipes(*state_.options.files, state_.options.directory, wipes);
  } while (error == ENOSPC && !state_.late() && log_.evict_oldest(false));
  state_.account_sidecar(next, 0);
  if (error == 0) state_.account_sidecar(name, bytes);
  if (error != 0) state_.fail("pending deletions cannot be saved", error);
  return error == 0;
}

// Adds the wipes among these removals. They are kept from here on, even if a later step fails.
// RETURNS false if they could not be added.
bool Scrubber::add_wipes(Removals begin, Removals end) {
  std::vector<Wipe> wipes = wipes_;
  const LogPosition here = log_.position();
  bool any = false;
  for (auto removal = begin; removal != end; ++removal) {
    if (removal->clear_all || removal->what.is_everything()) continue;
    any = true;
    const auto same = std::find_if(wipes.begin(), wipes.end(), [&](const Wipe& wipe) { return !wipe.swept && wipe.what == removal->what; });
    if (same == wipes.end()) {
      wipes.push_back({removal->what, here, removal->chained, removal->number});
    } else {
      same->before = here;
      same->chained |= removal->chained;
    }
  }
  if (!any) return true;
  if (!save_wipes(wipes)) return false;
  set_wipes(std::move(wipes));
  return true;
}

bool Scrubber::wipes_before(std::uint64_t number) const {
  return std::any_of(wipes_.begin(), wipes_.end(), [&](const Wipe& wipe) { return wipe.number < number; });
}

// Does one step of the sweep.
void Scrubber::sweep_some() {
  if (!sweep_is_due()) return;
  if (!log_.owns_directory()) return;
  if (!sweep_.going) {
    sweep_ = {};
    sweep_.going = true;
    for (Wipe& wipe : wipes_) wipe.swept = true;
  }
  if (sweep_.at < sweep_.dead.size()) {
    std::shared_ptr<file::File> file;
    Salt salt;
    {
      const MutexLock lock(state_.mutex);
      if (Segment* const segment = state_.catalog.segments().find(sweep_.segment); segment != nullptr) {
        file = segment->file;
        salt = segment->header.salt;
      }
    }
    const int error = file ? overwrite_some(*file, salt) : 0;
    if (error != 0) {
      sweep_failed(error);
    } else if (file) {
      tries_ = 0;
    } else {   // evicted meanwhile
      sweep_.at = sweep_.dead.size();
      sweep_.more = false;
    }
  } else if (!find_dead()) {
    finish_sweep();
  }
  if (state_.broken()) sweep_ = {};   // writes since the last sync may be lost
}

// Retries after a pause, while the log goes on. If that never works, deletes the file; older
// segments that depend on its removals are deleted with it.
void Scrubber::sweep_failed(int error) {
  const std::uint32_t id = sweep_.segment;
  sweep_ = {};
  answer_parked(true);
  tries_ = std::exchange(tried_in_, id) == id ? tries_ + 1 : 1;
  std::vector<std::uint32_t> going;
  {
    const MutexLock lock(state_.mutex);
    ++state_.counters.write_errors;
    Segment* const segment = state_.catalog.segments().find(id);
    const bool removals = segment != nullptr && segment->has_removals;
    for (const auto& [each, state] : state_.catalog.segments()) {
      if (each == id || (removals && each < id)) going.push_back(each);
    }
  }
  const std::string what = segment_name(id) + ": deleted values cannot be overwritten";
  if (tries_ < kTriesInASegment || is_shortage(error)) {
    if (tries_ == 1) state_.note(what + " now: " + std::strerror(error == file::kEndOfFile ? EIO : error));
    sweep_at_ = std::chrono::steady_clock::now() + state_.options.retry_pause * (1 << std::min(tries_ - 1, kMaxDoublings));
    return;
  }
  tries_ = 0;
  state_.note(what + "; " + std::to_string(going.size()) + " segments are dropped instead");
  for (const std::uint32_t each : going) {
    if (!state_.broken() && !state_.late()) log_.remove_segment(each);
  }
}

// Searches the next segment, or continues in the present one. RETURNS false if there is none.
bool Scrubber::find_dead() {
  std::uint64_t last = 0;
  for (const Wipe& wipe : wipes_) last = wipe.swept ? std::max(last, wipe.before.segment) : last;
  std::shared_ptr<file::File> file;
  SegmentHeader header;
  {
    const MutexLock lock(state_.mutex);
    const SegmentTable& segments = state_.catalog.segments();
    const auto next = segments.after(sweep_.segment);
    if (!sweep_.more && (next == segments.end() || next->first > last)) return false;
    const std::uint32_t id = sweep_.more ? sweep_.segment : next->first;
    const Segment* const segment = segments.find(id);
    sweep_.dead.clear();
    sweep_.at = 0;
    sweep_.done = 0;
    if (!std::exchange(sweep_.more, false)) sweep_.from = 0;
    if (segment == nullptr) return true;
    sweep_.segment = id;
    file = segment->file;
    header = segment->header;
  }
  const int error = file ? find_dead_in(*file, header) : EIO;
  if (error != 0) sweep_failed(error);   // or of another version: its contents are unknown
  return true;
}

int Scrubber::find_dead_in(file::File& file, const SegmentHeader& header) {
  std::uint64_t end = kSegmentHeaderBytes;   // end of the searched part
  if (sweep_.segment == log_.open().segment) {
    static_cast<void>(add_dead(log_.open().records, &end));
    return 0;
  }
  SegmentContents contents;
  contents.header = header;
  if (const int error = read_records(file, &contents, [&](std::span<const Located> records) { return !state_.late() && add_dead(records, &end); }))
    return error;
  if (sweep_.more || state_.late()) return 0;
  // A write may have been cut off after the last record.
  std::uint64_t bytes = contents.end;
  const int error = contents.from_summary ? 0 : file.size(&bytes);
  if (bytes > end) add_gap(end, bytes);
  return error;
}

// RETURNS false if enough records are collected for now.
bool Scrubber::add_dead(std::span<const Located> records, std::uint64_t* end) {
  for (std::size_t begin = 0; begin < records.size(); begin += kRecordsAtOnce) {
    const MutexLock lock(state_.mutex);
    for (const Located& located : records.subspan(begin, std::min(kRecordsAtOnce, records.size() - begin))) {
      if (located.offset >= sweep_.from) {
        if (sweep_.dead.size() >= kMaxDead) {
          sweep_.more = true;
          sweep_.from = located.offset;
          return false;
        }
        if (located.offset > *end) add_gap(*end, located.offset);
        if (is_dead_locked(located)) sweep_.dead.push_back({located.offset, located.header.value_bytes, true});
      }
      *end = located.offset + record_bytes(located.header.value_bytes);
    }
  }
  return true;
}

// Adds bytes of no valid record, damaged or partially written: they may belong to any owner.
void Scrubber::add_gap(std::uint64_t begin, std::uint64_t end) {
  const LogPosition position{sweep_.segment, begin};
  const bool counts = std::any_of(wipes_.begin(), wipes_.end(), [&](const Wipe& wipe) { return wipe.swept && position < wipe.before; });
  if (counts) sweep_.dead.push_back({begin, end - begin, false});
}

// RETURNS true if the record must be overwritten. The owner of an erased record may be unknown.
bool Scrubber::is_dead_locked(const Located& located) {
  const RecordHeader& header = located.header;
  const bool value = header.type == RecordType::kValue;
  if ((!value && header.type != RecordType::kErased) || header.overwritten) return false;
  const LogPosition position{sweep_.segment, located.offset};
  const Place place{sweep_.segment, static_cast<std::uint32_t>(located.offset / kAlignment), static_cast<std::uint32_t>(header.value_bytes)};
  const bool live = value && state_.catalog.holds(header.key, place);
  bool dead = false, matches = false;
  for (const Wipe& wipe : wipes_) {
    if (!wipe.swept || position >= wipe.before) continue;
    matches = matches || (value && wipe.what.matches(header));
    dead = dead || !value || (wipe.chained && header.chained && !live);
  }
  if (live && matches) state_.catalog.erase(state_.catalog.find(header.key));
  return dead || matches;
}

// Erases remaining headers and overwrites values with zeros; once the zeros are durable, marks the
// headers as overwritten.
int Scrubber::overwrite_some(file::File& file, const Salt& salt) {
  static constexpr std::array<std::byte, kZeroBytes> kZeros{};
  std::vector<Located> done;
  std::uint64_t left = kPieceBytes;
  bool wrote = false;
  for (std::size_t count = 0; sweep_.at < sweep_.dead.size() && left > 0 && count < kPieceRecords; ++count) {
    const Sweep::Dead& dead = sweep_.dead[sweep_.at];
    RecordHeader erased;
    erased.type = RecordType::kErased;
    erased.value_bytes = dead.bytes;
    if (dead.record && sweep_.done == 0) {
      RecordHeaderBytes bytes{};
      const auto header = file::read_fully(file, dead.offset, bytes) == 0 ? decode_record_header(bytes, salt, dead.offset) : std::nullopt;
      if (header && header->overwritten) {
        log_.note_overwritten(sweep_.segment, {dead.offset, *header});
        ++sweep_.at;
        continue;
      }
      if (!header || header->type != RecordType::kErased) {
        if (const int error = file::write_fully(file, dead.offset, encode_record_header(erased, salt, dead.offset))) return error;
        wrote = true;
      }
    }
    const std::uint64_t begin = dead.offset + (dead.record ? kRecordHeaderBytes : 0);
    while (sweep_.done < dead.bytes && left > 0) {
      if (state_.late()) return 0;
      const auto zeros = std::span(kZeros).first(std::min({dead.bytes - sweep_.done, left, std::uint64_t{kZeroBytes}}));
      if (const int error = file::write_fully(file, begin + sweep_.done, zeros)) return error;
      sweep_.done += zeros.size();
      left -= zeros.size();
      wrote = true;
    }
    if (sweep_.done < dead.bytes) break;
    erased.overwritten = true;
    if (dead.record) done.push_back({dead.offset, erased});
    sweep_.done = 0;
    ++sweep_.at;
  }
  if (!wrote && done.empty()) return 0;
  if (const int error = file.sync()) return error;
  for (const Located& each : done) {
    if (const int error = file::write_fully(file, each.offset, encode_record_header(each.header, salt, each.offset))) return error;
    log_.note_overwritten(sweep_.segment, each);
  }
  return 0;
}

void Scrubber::forget_all() {
  set_wipes({});
  restart();
  answer_parked(false);
}

void Scrubber::finish_sweep() {
  std::vector<Wipe> left;
  std::copy_if(wipes_.begin(), wipes_.end(), std::back_inserter(left), [](const Wipe& wipe) { return !wipe.swept; });
  if (!save_wipes(left)) return;
  set_wipes(std::move(left));
  sweep_ = {};
  log_.remove_empty_segments();
  answer_parked(false);
}

// Answers parked questions whose wipes are complete; all of them with false if the disk is broken.
void Scrubber::answer_parked(bool failed) {
  for (auto question = parked_.begin(); question != parked_.end();) {
    const auto each = question++;
    if (!failed && wipes_before(each->number)) continue;
    const std::function<void(bool)> tell = std::move(each->written);
    parked_.erase(each);
    call_back(tell, !failed);
  }
}

}   // namespace tensorcache::disk
