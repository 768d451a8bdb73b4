#include "store/disk/writer.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "store/disk/recovery.h"

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kBatchBytes = std::uint64_t{8} << 20;
constexpr std::size_t kBatchWrites = 1024;
constexpr std::chrono::seconds kLookEvery{1};
constexpr std::chrono::minutes kSaveUsageEvery{1};
constexpr int kLastTries = 3;

}   // namespace

Writer::Writer(DiskState& state, Directory& directory, DiskReader& reader)
    : state_(state), directory_(directory), reader_(reader), log_(state, directory), scrubber_(state, log_), side_files_(state, directory, log_) {}

void Writer::start() {
  thread_ = std::thread([this] { write_loop(); });
}

void Writer::join() {
  std::call_once(joined_, [this] { thread_.join(); });
}

// Treats exceptions as a failure of the disk, so that none ends the thread.
template <class Work>
void Writer::guarded(const Work& work) noexcept {
  try {
    work();
  } catch (...) {
    give_up();
  }
}

void Writer::write_loop() noexcept {
  guarded([this] { static_cast<void>(recover()); });
  {
    const MutexLock lock(state_.mutex);
    state_.ready = true;
    state_.changed.notify_all();
  }
  look_at_ = std::chrono::steady_clock::now() + kLookEvery;
  usage_at_ = std::chrono::steady_clock::now() + kSaveUsageEvery;
  bool closing = false;
  while (!closing) {
    guarded([this] { step(); });
    const MutexLock lock(state_.mutex);
    closing = state_.closing;
  }
  // Retries, because memory may be short for a moment only.
  for (int i = 0; i < kLastTries && (i == 0 || state_.removals_wait()); ++i) guarded([this] { write_last_removals(); });
  guarded([this] { write_last_values(); });
  finish();
}

void Writer::step() {
  bool retry = false;
  {
    const MutexLock lock(state_.mutex);
    auto wake_at = state_.health.broken() ? std::min(look_at_, state_.health.retry_at()) : look_at_;
    if (!scrubber_.wipes().empty() && state_.recovered && !state_.health.broken()) wake_at = std::min(wake_at, scrubber_.sweep_at());
    if (state_.wants_room && !state_.health.broken()) wake_at = std::min(wake_at, offer_at_);
    state_.changed.wait_until(state_.mutex, wake_at, [&]() TC_REQUIRES(state_.mutex) { return state_.closing || has_work_locked(); });
    if (state_.closing) return;
    retry = state_.health.broken() && std::chrono::steady_clock::now() >= state_.health.retry_at();
    state_.index_limit_changed = false;
    take_batch_locked();
  }
  if (retry) heal();
  if (std::chrono::steady_clock::now() >= look_at_) {
    if (!state_.broken()) static_cast<void>(log_.owns_directory());
    if (!state_.broken()) side_files_.measure_sidecars();
    if (!state_.broken()) side_files_.save_names();
    if (!state_.broken() && look_at_ >= usage_at_) {
      side_files_.save_usage();
      usage_at_ = look_at_ + kSaveUsageEvery;
    }
    look_at_ = std::chrono::steady_clock::now() + kLookEvery;
  }
  write_batch();
  while (state_.over_budget() && !state_.late() && log_.evict_oldest(false)) {
  }
  scrubber_.sweep_some();
  if (state_.broken()) scrubber_.answer_parked(true);
  log_.trim_index();
  offer_room();
}

// A call that failed, for lack of memory, is repeated after a pause.
void Writer::offer_room() noexcept {
  {
    const MutexLock lock(state_.mutex);
    if (!offers_room_locked()) return;
    state_.wants_room = false;
  }
  try {
    if (state_.on_room) state_.on_room();
  } catch (...) {
    const MutexLock lock(state_.mutex);
    state_.wants_room = true;
    offer_at_ = std::chrono::steady_clock::now() + state_.options.retry_pause;
  }
}

bool Writer::offers_room_locked() const {
  return state_.wants_room && !state_.closing && !state_.health.broken() && std::chrono::steady_clock::now() >= offer_at_;
}

// After an exception: drops the batch, except its removals and what is taken back, and starts
// recovery again.
void Writer::give_up() noexcept {
  scrubber_.restart();
  log_.give_up_piece();
  try {
    state_.fail("out of memory while writing", ENOMEM);
  } catch (...) {
    const MutexLock lock(state_.mutex);
    state_.health.fail(std::chrono::steady_clock::now());
  }
  std::list<Write> questions;
  for (auto write = writing_values_.begin(); write != writing_values_.end();) {
    const auto each = write++;
    if (each->written) {
      questions.splice(questions.end(), writing_values_, each);
      continue;
    }
    {
      const MutexLock lock(state_.mutex);
      if (each->forgotten || state_.catalog.find(each->value.key) != Index::kNone) continue;
    }
    lose(*each);
  }
  {
    const MutexLock lock(state_.mutex);
    state_.ledger.put_back(writing_removals_, writing_removals_.begin(), writing_removals_.end());
  }
  done_with_values(writing_values_.begin(), writing_values_.end());
  if (!state_.recovered) log_.forget_directory();
  answer_all(questions);
}

bool Writer::recover() {
  Recovery recovery(state_, directory_, log_, scrubber_, side_files_);
  return recovery.recover();
}

void Writer::heal() {
  int error = directory_.make();
  if (error == 0 && !log_.owns_directory()) error = directory_.lock();
  if (error != 0) {
    state_.fail(error == EWOULDBLOCK ? "another process uses the directory" : "the directory cannot be used", error);
    return;
  }
  log_.abandon_segment();
  if (!state_.recovered && !recover()) return;
  if (log_.open().segment == 0) error = log_.open_segment();   // recovery may have continued the last segment
  if (error != 0) {
    state_.fail("a segment cannot be created", error);
    return;
  }
  {
    const MutexLock lock(state_.mutex);
    state_.health.heal();
  }
  state_.note("works again");
}

// While the disk is broken, removals wait for it; values are taken back or dropped at once.
bool Writer::has_work_locked() const {
  return !state_.queue.empty() || offers_room_locked() || state_.index_limit_changed || state_.over_budget_locked() ||
         (!state_.health.broken() && (scrubber_.wants_time() || !state_.ledger.waiting().empty()));
}

// Takes writes and removals in the order of the calls.
void Writer::take_batch_locked() noexcept {
  std::uint64_t bytes = 0;
  for (std::size_t count = 0; count < kBatchWrites && bytes < kBatchBytes; ++count) {
    const bool value = !state_.queue.empty(), removal = !state_.ledger.waiting().empty() && !state_.health.broken();
    if (value && (!removal || state_.queue.first_number() < state_.ledger.waiting().front().number)) {
      bytes += state_.queue.take(writing_values_);
    } else if (removal) {
      state_.ledger.take(writing_removals_);
    } else {
      return;
    }
  }
}

}   // namespace tensorcache::disk
