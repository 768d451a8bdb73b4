// The writing thread: from the queue to the end of the log.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/core/call_back.h"
#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kBatchBytes = std::uint64_t{8} << 20;
constexpr std::size_t kBatchWrites = 1024;
constexpr std::chrono::seconds kLookEvery{1};
constexpr std::chrono::minutes kSaveUsageEvery{1};
constexpr int kLastTries = 3;

}   // namespace

// What throws here is taken as a failure of the disk: nothing may end the thread.
template <class Work>
void DiskTier::guarded(const Work& work) noexcept {
  try {
    work();
  } catch (...) {
    give_up();
  }
}

void DiskTier::write_loop() noexcept {
  guarded([this] { static_cast<void>(recover()); });
  {
    const MutexLock lock(mutex_);
    ready_ = true;
    changed_.notify_all();
  }
  look_at_ = std::chrono::steady_clock::now() + kLookEvery;
  usage_at_ = std::chrono::steady_clock::now() + kSaveUsageEvery;
  bool closing = false;
  while (!closing) {
    guarded([this] { step(); });
    const MutexLock lock(mutex_);
    closing = closing_;
  }
  // More than once, because memory may be short for a moment.
  for (int i = 0; i < kLastTries && (i == 0 || removals_wait()); ++i) guarded([this] { write_last_removals(); });
  guarded([this] { write_last_values(); });
  finish();
}

void DiskTier::step() {
  bool retry = false;
  {
    const MutexLock lock(mutex_);
    auto wake_at = health_.broken() ? std::min(look_at_, health_.retry_at()) : look_at_;
    if (!wipes_.empty() && recovered_ && !health_.broken()) wake_at = std::min(wake_at, sweep_at_);
    changed_.wait_until(mutex_, wake_at, [&]() TC_REQUIRES(mutex_) { return closing_ || has_work_locked(); });
    if (closing_) return;
    retry = health_.broken() && std::chrono::steady_clock::now() >= health_.retry_at();
    index_limit_changed_ = false;
    take_batch_locked();
  }
  if (retry) heal();
  if (std::chrono::steady_clock::now() >= look_at_) {
    if (!broken()) look_after_directory();
    if (!broken()) measure_sidecars();
    if (!broken()) save_names();
    if (!broken() && look_at_ >= usage_at_) {
      save_usage();
      usage_at_ = look_at_ + kSaveUsageEvery;
    }
    look_at_ = std::chrono::steady_clock::now() + kLookEvery;
  }
  write_batch();
  while (over_budget() && !late() && evict_oldest(false)) {
  }
  sweep_some();
  if (broken()) answer_parked(true);
  trim_index();
}

// After an exception. The batch is dropped, but for its removals; recovery begins again.
void DiskTier::give_up() noexcept {
  lost_some_ = true;
  sweep_ = {};
  std::list<Write> questions;
  {
    const MutexLock lock(mutex_);
    catalog_.segments().add_unlisted(log_.segment, std::exchange(unpublished_, 0));
    for (auto write = writing_values_.begin(); write != writing_values_.end();) {
      const auto each = write++;
      if (each->written) {
        questions.splice(questions.end(), writing_values_, each);
      } else if (!each->forgotten && catalog_.find(each->value.key) == Index::kNone) {
        ++counters_.dropped_puts;
      }
    }
    ledger_.put_back(writing_removals_, writing_removals_.begin(), writing_removals_.end());
  }
  done_with_values(writing_values_.begin(), writing_values_.end());
  if (!recovered_) forget_directory();
  answer_all(questions);
  try {
    fail("out of memory while writing", ENOMEM);
  } catch (...) {
    const MutexLock lock(mutex_);
    health_.fail(std::chrono::steady_clock::now());
  }
}

void DiskTier::answer_all(const std::list<Write>& questions) noexcept {
  for (const Write& question : questions) {
    try {
      question.written(false);
    } catch (...) {   // the others are told all the same
    }
  }
}

bool DiskTier::broken() const {
  const MutexLock lock(mutex_);
  return health_.broken();
}

bool DiskTier::over_budget_locked() const {
  return catalog_.segments().file_bytes() + sidecars_.bytes() > capacity_ && !catalog_.segments().empty() && !health_.broken();
}

bool DiskTier::over_budget() const {
  const MutexLock lock(mutex_);
  return over_budget_locked();
}

// While the disk does not work removals wait for it, and everything else is let go at once.
bool DiskTier::has_work_locked() const {
  const bool sweeps = !wipes_.empty() && recovered_ && std::chrono::steady_clock::now() >= sweep_at_;
  return !queue_.empty() || index_limit_changed_ || over_budget_locked() || (!health_.broken() && (sweeps || !ledger_.waiting().empty()));
}

// In the order in which it was asked for.
void DiskTier::take_batch_locked() noexcept {
  std::uint64_t bytes = 0;
  for (std::size_t count = 0; count < kBatchWrites && bytes < kBatchBytes; ++count) {
    const bool value = !queue_.empty(), removal = !ledger_.waiting().empty() && !health_.broken();
    if (value && (!removal || queue_.first_number() < ledger_.waiting().front().number)) {
      bytes += queue_.take(writing_values_);
    } else if (removal) {
      ledger_.take(writing_removals_);
    } else {
      return;
    }
  }
}

// Questions, and removals that are more than a record, keep their place between the others.
void DiskTier::write_batch() {
  while (!writing_values_.empty() || !writing_removals_.empty()) {
    const auto question = std::find_if(writing_values_.begin(), writing_values_.end(), [](const Write& write) { return write.written != nullptr; });
    const auto removal = std::find_if(writing_removals_.begin(), writing_removals_.end(),
                                      [](const Removal& each) { return each.clear_all || !each.what.keys.empty(); });
    const std::uint64_t asked = question == writing_values_.end() ? UINT64_MAX : question->number;
    const std::uint64_t removed = removal == writing_removals_.end() ? UINT64_MAX : removal->number;
    write_stretch(std::min(asked, removed));
    if (asked < removed) {
      answer(question, !std::exchange(lost_some_, false) && !broken());
    } else if (removed < UINT64_MAX) {
      removal->clear_all ? clear_log(removal) : write_purge(removal);
    }
  }
}

void DiskTier::answer(Values question, bool written) {
  if (written && wipes_before(question->number)) {   // it is, when those are done
    const MutexLock lock(mutex_);
    parked_.splice(parked_.end(), writing_values_, question);
    return;
  }
  const std::function<void(bool)> tell = std::move(question->written);
  {
    const MutexLock lock(mutex_);
    writing_values_.erase(question);
  }
  call_back(tell, written);
}

// Values and removals with smaller numbers: first what was removed, with one sync for all of it, then the values that were not removed
// since.
void DiskTier::write_stretch(std::uint64_t before) {
  const auto values = std::find_if(writing_values_.begin(), writing_values_.end(), [&](const Write& write) { return write.number >= before; });
  const auto removals = std::find_if(writing_removals_.begin(), writing_removals_.end(), [&](const Removal& each) { return each.number >= before; });
  {
    const MutexLock lock(mutex_);
    for (auto write = writing_values_.begin(); write != values; ++write) {
      write->forgotten |= ledger_.removed_since(write->value, write->number);
    }
  }
  if (removals != writing_removals_.begin()) write_removals(writing_removals_.begin(), removals);
  if (values != writing_values_.begin()) write_values(writing_values_.begin(), values);
}

// A value under a key that is stored already is the same one, unless that one expired: only its record tells.
void DiskTier::forget_expired(Values begin, Values end) {
  for (auto each = begin; each != end; ++each) {
    Place place;
    {
      const MutexLock lock(mutex_);
      const Index::Id id = catalog_.find(each->value.key);
      if (id == Index::kNone || !catalog_[id].expires) continue;
      place = catalog_[id].place;
    }
    if (read_head(each->value.key, {})) continue;
    const MutexLock lock(mutex_);
    forget_at_locked(each->value.key, place);
  }
}

// Those that are still to be stored, in order: not there yet, not removed since, and with their parent stored or before them.
std::vector<const Write*> DiskTier::wanted(Values begin, Values end) {
  std::vector<const Write*> chosen;
  std::unordered_map<Key, bool> before;
  const MutexLock lock(mutex_);
  for (auto each = begin; each != end; ++each) {
    const Write& write = *each;
    const Value& value = write.value;
    const bool known = catalog_.find(value.key) != Index::kNone || before.contains(value.key);
    const bool hangs = !value.parent || catalog_.find(*value.parent) != Index::kNone || before.contains(*value.parent);
    if (known || write.forgotten || ledger_.removed_since(write.value, write.number)) continue;
    if (!hangs) {
      ++counters_.dropped_puts;
      lost_some_ = true;
      continue;
    }
    before.emplace(value.key, true);
    chosen.push_back(&write);
  }
  return chosen;
}

void DiskTier::write_values(Values begin, Values end) {
  forget_expired(begin, end);
  std::vector<const Write*> chosen = wanted(begin, end);
  std::vector<RecordHeader> headers;
  std::vector<std::span<const std::byte>> bytes;
  std::vector<EntryClass> classes;
  for (const Write* write : chosen) {
    const Value& value = write->value;
    RecordHeader header;
    header.kind = value.kind;
    header.chained = value.parent.has_value();
    header.value_bytes = value.bytes.size();
    header.created_unix_ms = value.created_unix_ms;
    header.expires_unix_ms = value.expires_unix_ms;
    header.owner = value.owner;
    header.source = value.source;
    header.key = value.key;
    header.parent = value.parent.value_or(Key{});
    headers.push_back(header);
    bytes.push_back(value.bytes);
    classes.push_back({value.kind, value.owner, value.source});
  }
  const std::size_t indexed = broken() ? 0 : reserve_some_entries(classes);
  std::size_t published = 0;
  const bool all = append(std::span(headers).first(indexed), std::span(bytes).first(indexed), true, [&](std::size_t i, const Place& place) {
    const MutexLock lock(mutex_);
    ++published;
    return publish_locked(*chosen[i], place);
  });
  {
    const MutexLock lock(mutex_);
    ++tick_;
    lost_some_ |= !all || indexed < chosen.size();
    counters_.dropped_puts += indexed - published;
    (health_.broken() ? counters_.dropped_puts : counters_.index_full) += chosen.size() - indexed;
  }
  done_with_values(begin, end);
}

// Meanwhile it may have been removed, or its parent may have gone.
bool DiskTier::publish_locked(const Write& write, const Place& place) {
  const Value& value = write.value;
  if (ledger_.removed_since(write.value, write.number)) return false;
  const Index::Id parent = value.parent ? catalog_.find(*value.parent) : Index::kNone;
  if (value.parent && parent == Index::kNone) {
    lost_some_ = true;
    ++counters_.dropped_puts;
    return false;
  }
  const Index::Id id = catalog_.insert(value.key, place, {value.kind, value.owner, value.source}, parent);
  catalog_[id].expires = value.expires_unix_ms != 0;
  catalog_.touch(id, tick_);
  ++counters_.puts;
  counters_.accepted_bytes += value.bytes.size();
  return true;
}

void DiskTier::done_with_values(Values begin, Values end) noexcept {
  std::list<Write> done;   // let go without the lock
  const MutexLock lock(mutex_);
  for (auto write = begin; write != end; ++write) {
    queue_.done(*write);
  }
  done.splice(done.begin(), writing_values_, begin, end);
}

}   // namespace tensorcache::disk
