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
    const std::lock_guard lock(mutex_);
    ready_ = true;
    changed_.notify_all();
  }
  look_at_ = std::chrono::steady_clock::now() + kLookEvery;
  usage_at_ = std::chrono::steady_clock::now() + kSaveUsageEvery;
  bool closing = false;
  while (!closing) {
    guarded([this] { step(); });
    const std::lock_guard lock(mutex_);
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
    std::unique_lock lock(mutex_);
    auto wake_at = health_.broken ? std::min(look_at_, health_.retry_at) : look_at_;
    if (!wipes_.empty() && recovered_ && !health_.broken) wake_at = std::min(wake_at, sweep_at_);
    changed_.wait_until(lock, wake_at, [&] { return closing_ || has_work_locked(); });
    if (closing_) return;
    retry = health_.broken && std::chrono::steady_clock::now() >= health_.retry_at;
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
    const std::lock_guard lock(mutex_);
    unlist_locked(log_.segment, std::exchange(unpublished_, 0));
    for (auto write = writing_.values.begin(); write != writing_.values.end();) {
      const auto each = write++;
      if (each->written) {
        questions.splice(questions.end(), writing_.values, each);
      } else if (!each->forgotten && index_.find(each->value.key) == Index::kNone) {
        ++counters_.dropped_puts;
      }
    }
    requeue_locked(writing_.removals.begin(), writing_.removals.end());
  }
  done_with_values(writing_.values.begin(), writing_.values.end());
  if (!recovered_) forget_directory();
  answer_all(questions);
  try {
    fail("out of memory while writing", ENOMEM);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    health_.broken = true;
    health_.retry_at = std::chrono::steady_clock::now() + options_.retry_pause;
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
  const std::lock_guard lock(mutex_);
  return health_.broken;
}

bool DiskTier::over_budget_locked() const { return used_ + sidecar_bytes_locked(true) > capacity_ && !segments_.empty() && !health_.broken; }

bool DiskTier::over_budget() const {
  const std::lock_guard lock(mutex_);
  return over_budget_locked();
}

// While the disk does not work removals wait for it, and everything else is let go at once.
bool DiskTier::has_work_locked() const {
  const bool sweeps = !wipes_.empty() && recovered_ && std::chrono::steady_clock::now() >= sweep_at_;
  return !values_waiting_.empty() || index_limit_changed_ || over_budget_locked() || (!health_.broken && (sweeps || !removals_waiting_.empty()));
}

// In the order in which it was asked for.
void DiskTier::take_batch_locked() noexcept {
  std::uint64_t bytes = 0;
  for (std::size_t count = 0; count < kBatchWrites && bytes < kBatchBytes; ++count) {
    const bool value = !values_waiting_.empty(), removal = !removals_waiting_.empty() && !health_.broken;
    if (value && (!removal || values_waiting_.front().number < removals_waiting_.front().number)) {
      bytes += values_waiting_.front().value.bytes.size();
      writing_.values.splice(writing_.values.end(), values_waiting_, values_waiting_.begin());
    } else if (removal) {
      writing_.removals.splice(writing_.removals.end(), removals_waiting_, removals_waiting_.begin());
    } else {
      return;
    }
  }
}

// Back to the front of the queue, which is in the order of the numbers.
void DiskTier::requeue_locked(Removals begin, Removals end) noexcept {
  if (begin == end) return;
  auto before = removals_waiting_.begin();
  while (before != removals_waiting_.end() && before->number < begin->number) ++before;
  removals_waiting_.splice(before, writing_.removals, begin, end);
}

// Questions, and removals that are more than a record, keep their place between the others.
void DiskTier::write_batch() {
  while (!writing_.values.empty() || !writing_.removals.empty()) {
    const auto question = std::find_if(writing_.values.begin(), writing_.values.end(), [](const Write& write) { return write.written != nullptr; });
    const auto removal = std::find_if(writing_.removals.begin(), writing_.removals.end(),
                                      [](const Removal& each) { return each.clear_all || !each.what.keys.empty(); });
    const std::uint64_t asked = question == writing_.values.end() ? UINT64_MAX : question->number;
    const std::uint64_t removed = removal == writing_.removals.end() ? UINT64_MAX : removal->number;
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
    const std::lock_guard lock(mutex_);
    parked_.splice(parked_.end(), writing_.values, question);
    return;
  }
  const std::function<void(bool)> tell = std::move(question->written);
  {
    const std::lock_guard lock(mutex_);
    writing_.values.erase(question);
  }
  call_back(tell, written);
}

// Values and removals with smaller numbers: first what was removed, with one sync for all of it, then the values that were not removed
// since.
void DiskTier::write_stretch(std::uint64_t before) {
  const auto values = std::find_if(writing_.values.begin(), writing_.values.end(), [&](const Write& write) { return write.number >= before; });
  const auto removals = std::find_if(writing_.removals.begin(), writing_.removals.end(), [&](const Removal& each) { return each.number >= before; });
  {
    const std::lock_guard lock(mutex_);
    for (auto write = writing_.values.begin(); write != values; ++write) {
      write->forgotten |= removed_since_locked(*write);
    }
  }
  if (removals != writing_.removals.begin()) write_removals(writing_.removals.begin(), removals);
  if (values != writing_.values.begin()) write_values(writing_.values.begin(), values);
}

// A value under a key that is stored already is the same one, unless that one expired: only its record tells.
void DiskTier::forget_expired(Values begin, Values end) {
  for (auto each = begin; each != end; ++each) {
    Place place;
    {
      const std::lock_guard lock(mutex_);
      const Index::Id id = index_.find(each->value.key);
      if (id == Index::kNone || !index_[id].expires) continue;
      place = index_[id].place;
    }
    if (read_head(each->value.key, {})) continue;
    const std::lock_guard lock(mutex_);
    forget_at_locked(each->value.key, place);
  }
}

// Those that are still to be stored, in order: not there yet, not removed since, and with their parent stored or before them.
std::vector<const Write*> DiskTier::wanted(Values begin, Values end) {
  std::vector<const Write*> chosen;
  std::unordered_map<Key, bool> before;
  const std::lock_guard lock(mutex_);
  for (auto each = begin; each != end; ++each) {
    const Write& write = *each;
    const Value& value = write.value;
    const bool known = index_.find(value.key) != Index::kNone || before.contains(value.key);
    const bool hangs = !value.parent || index_.find(*value.parent) != Index::kNone || before.contains(*value.parent);
    if (known || write.forgotten || removed_since_locked(write)) continue;
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
    const std::lock_guard lock(mutex_);
    ++published;
    return publish_locked(*chosen[i], place);
  });
  {
    const std::lock_guard lock(mutex_);
    ++tick_;
    lost_some_ |= !all || indexed < chosen.size();
    counters_.dropped_puts += indexed - published;
    (health_.broken ? counters_.dropped_puts : counters_.index_full) += chosen.size() - indexed;
  }
  done_with_values(begin, end);
}

// Meanwhile it may have been removed, or its parent may have gone.
bool DiskTier::publish_locked(const Write& write, const Place& place) {
  const Value& value = write.value;
  if (removed_since_locked(write)) return false;
  const Index::Id parent = value.parent ? index_.find(*value.parent) : Index::kNone;
  if (value.parent && parent == Index::kNone) {
    lost_some_ = true;
    ++counters_.dropped_puts;
    return false;
  }
  const Index::Id id = insert_locked(value.key, place, {value.kind, value.owner, value.source}, parent);
  index_[id].expires = value.expires_unix_ms != 0;
  index_.touch(id, tick_);
  ++counters_.puts;
  counters_.accepted_bytes += value.bytes.size();
  return true;
}

void DiskTier::done_with_values(Values begin, Values end) noexcept {
  std::list<Write> done;   // let go without the lock
  const std::lock_guard lock(mutex_);
  for (auto write = begin; write != end; ++write) {
    queued_bytes_ -= write->value.bytes.size();
    const auto queued = queued_.find(write->value.key);
    if (--queued->second.count == 0) queued_.erase(queued);
    if (!write->value.parent) continue;
    const auto children = queued_children_.find(*write->value.parent);
    if (--children->second == 0) queued_children_.erase(children);
  }
  done.splice(done.begin(), writing_.values, begin, end);
}

}   // namespace tensorcache::disk
