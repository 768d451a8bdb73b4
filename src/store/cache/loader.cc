#include "store/cache/loader.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/core/call_back.h"
#include "base/core/deadline.h"

namespace tensorcache::cache {
namespace {

constexpr int kReaders = 2;
constexpr std::size_t kMaxJobs = 256;           // more than that, and computing is surely faster
constexpr std::uint64_t kTryAnywayEvery = 32;   // of the loads that do not seem worth it: a disk may have become faster
constexpr std::chrono::seconds kWaitForRecovery{2};
constexpr int kMaxLooks = 100;   // of one call at a value that comes and goes: each takes an eviction or a write of that key

}   // namespace

// Keys whose read is this caller's. Their end wakes those that wait for it.
class Loader::Claim {
 public:
  // With the loader's mutex held: claims the leading keys that no other caller reads.
  Claim(Loader& loader, std::span<const Key> keys) : loader_(loader), keys_(keys), reading_(std::make_shared<Reading>()) {}
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim() {
    const std::lock_guard lock(loader_.mutex_);
    for (const Key& key : keys_.first(count_)) loader_.reading_.erase(key);
    reading_->over = true;
    loader_.changed_.notify_all();
  }
  void take_locked() {
    while (count_ < keys_.size() && loader_.reading_.emplace(keys_[count_], reading_).second) ++count_;
  }
  [[nodiscard]] std::span<const Key> keys() const { return keys_.first(count_); }
  void set(Outcome outcome) { reading_->outcome = outcome; }

 private:
  Loader& loader_;
  const std::span<const Key> keys_;
  std::size_t count_ = 0;
  const std::shared_ptr<Reading> reading_;
};

Loader::Loader(memory::MemoryTier& memory, disk::DiskTier& disk, std::function<std::int64_t()> unix_ms)
    : memory_(memory), disk_(disk), unix_ms_(std::move(unix_ms)) {
  try {
    threads_.reserve(kReaders + 1);
    for (int i = 0; i < kReaders; ++i) threads_.emplace_back([this] { work(); });
    threads_.emplace_back([this] { watch_deadlines(); });
  } catch (...) {   // the system has no more threads
    stop();
    throw;
  }
}

Loader::~Loader() { stop(); }

void Loader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::shared_ptr<Job> job;; finish(job, false)) {
    const std::lock_guard lock(mutex_);
    if (active_.empty()) break;
    job = active_.front();
  }
  for (std::thread& thread : threads_) thread.join();
}

bool Loader::load(std::vector<Key> chain, std::chrono::milliseconds patience, std::function<void()> done) {
  const std::size_t have = memory_.peek(chain);
  const auto missing = std::span<const Key>(chain).subspan(have);
  if (missing.empty()) return false;
  // Right after a start it is not known yet what is there.
  const bool ready = disk_.wait_ready(std::chrono::milliseconds(0));
  if (ready && (!disk_.contains(missing.front()) || !worth_it(missing, patience))) return false;
  auto job = std::make_shared<Job>();
  job->chain = std::move(chain);
  job->deadline = deadline_after(patience);
  job->done = std::move(done);
  const std::lock_guard lock(mutex_);
  if (stopping_ || active_.size() >= kMaxJobs || waiting_.size() >= kMaxJobs) return false;
  if (stuck_ >= kReaders) {   // a disk that hangs is not worth waiting for
    ++skipped_;
    return false;
  }
  active_.reserve(active_.size() + 1);
  waiting_.push_back(job);
  active_.push_back(std::move(job));
  changed_.notify_all();
  return true;
}

bool Loader::worth_it(std::span<const Key> missing, std::chrono::milliseconds patience) {
  const auto on_disk = missing.first(disk_.peek(missing));
  const auto seconds = disk_.read_seconds(disk_.bytes_of(on_disk));
  if (!seconds || *seconds < std::chrono::duration<double>(patience).count()) return true;
  const std::lock_guard lock(mutex_);
  return ++skipped_ % kTryAnywayEvery == 0;
}

void Loader::work() {
  for (;;) {
    std::shared_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      job = std::move(waiting_.front());
      waiting_.pop_front();
      job->running = static_cast<bool>(job->done);
      if (!job->done) continue;   // too late for it, and perhaps for the disk: do not add to its work
    }
    run(job);
  }
}

void Loader::run(const std::shared_ptr<Job>& job) {
  static_cast<void>(disk_.wait_ready(kWaitForRecovery));
  try {
    load_now(job->chain);
  } catch (const std::bad_alloc&) {   // NOLINT: what was not loaded is a miss
  }
  finish(job, false);
  const std::lock_guard lock(mutex_);
  job->running = false;
  stuck_ -= job->stuck ? 1 : 0;
}

void Loader::watch_deadlines() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto first = std::min_element(active_.begin(), active_.end(), [](const auto& a, const auto& b) { return a->deadline < b->deadline; });
    if (first == active_.end()) {
      changed_.wait(lock);
    } else if (Clock::now() < (*first)->deadline) {
      const Clock::time_point deadline = (*first)->deadline;   // the job may go meanwhile
      changed_.wait_until(lock, deadline);
    } else {
      const std::shared_ptr<Job> job = *first;
      lock.unlock();
      finish(job, true);
      lock.lock();
    }
  }
}

// Called at the end of the loading and at the deadline; the first call counts.
void Loader::finish(const std::shared_ptr<Job>& job, bool late) {
  std::function<void()> done;
  {
    const std::lock_guard lock(mutex_);
    done = std::exchange(job->done, nullptr);
    std::erase(active_, job);
    if (done && late) ++late_;
    if (done && late && job->running) {
      job->stuck = true;
      ++stuck_;
    }
  }
  if (done) call_back(done);
}

void Loader::load_now(std::span<const Key> chain) {
  Handle held;
  static_cast<void>(load_chain(chain, &held));
}

Loader::Outcome Loader::load_chain(std::span<const Key> chain, Handle* held) {
  for (int looks = 0; looks < kMaxLooks; ++looks) {
    const Outcome outcome = load_run(chain, held);
    if (outcome == Outcome::kLoaded) looks = 0;
    if (outcome != Outcome::kLoaded && outcome != Outcome::kChanged) return outcome;
  }
  return Outcome::kUnavailable;
}

Lookup Loader::fetch(const Key& key) {
  for (int looks = 0; looks < kMaxLooks; ++looks) {
    const std::vector<Key> chain = disk_.chain_of(key);
    Handle held;
    const Outcome outcome = load_chain(chain.empty() ? std::span(&key, 1) : std::span(chain), &held);
    if (Handle handle = memory_.get(key, memory::MemoryTier::Count::kNo)) return {std::move(handle), false};
    if (outcome == Outcome::kUnavailable) return {Handle(), true};
    if (outcome == Outcome::kNotStored && !disk_.contains(key)) return {};
  }
  return {Handle(), true};
}

Loader::Outcome Loader::load_run(std::span<const Key> chain, Handle* held) {
  chain = chain.subspan(memory_.peek(chain));
  if (chain.empty()) return Outcome::kAll;
  const std::size_t on_disk = disk_.peek(chain);
  if (on_disk == 0) return Outcome::kNotStored;
  Claim claim(*this, chain.first(on_disk));
  {
    std::unique_lock lock(mutex_);
    if (const auto found = reading_.find(chain.front()); found != reading_.end()) {
      const std::shared_ptr<Reading> reading = found->second;
      changed_.wait(lock, [&] { return reading->over || stopping_; });
      if (!reading->over) return Outcome::kUnavailable;
      return reading->outcome == Outcome::kUnavailable && !memory_.contains(chain.front()) ? Outcome::kUnavailable : Outcome::kChanged;
    }
    claim.take_locked();
  }
  const Outcome outcome = read(claim.keys(), held);
  claim.set(outcome);
  return outcome;
}

Loader::Outcome Loader::read(std::span<const Key> keys, Handle* held) {
  using Verdict = disk::DiskTier::Verdict;
  std::vector<Reservation> drafts(keys.size());
  PutStatus refused = PutStatus::kStored;
  const auto result = disk_.read(
      keys,
      [&](std::size_t i, const disk::DiskTier::Found& found) -> std::span<std::byte> {
        drafts[i] = Reservation();   // of a record that moved
        if (stopping_) return {};
        const PutOptions options{
            .kind = found.kind, .owner = found.owner, .source = static_cast<std::uint32_t>(found.source), .parent = found.parent};
        try {
          drafts[i] = memory_.reserve(keys[i], found.value_bytes, options);
        } catch (const std::bad_alloc&) {
          return {};
        }
        refused = drafts[i].status();
        return drafts[i].bytes();
      },
      [&](std::size_t i, const disk::RecordHeader& header, const disk::Place& place) {
        return unchanged([&] {
          if (!disk_.holds(keys[i], place)) return Verdict::kMoved;
          refused = take(std::move(drafts[i]), header, held);
          return refused == PutStatus::kStored || refused == PutStatus::kAlreadyStored ? Verdict::kTaken : Verdict::kStop;
        });
      });
  if (result.accepted > 0) return Outcome::kLoaded;
  switch (result.end) {
    case disk::DiskTier::ReadEnd::kAll:
    case disk::DiskTier::ReadEnd::kNotStored:
      return Outcome::kChanged;
    case disk::DiskTier::ReadEnd::kStopped:
      return refused == PutStatus::kAlreadyStored || refused == PutStatus::kParentMissing ? Outcome::kChanged : Outcome::kUnavailable;
    case disk::DiskTier::ReadEnd::kFailed:
      break;
  }
  return Outcome::kUnavailable;
}

PutStatus Loader::take(Reservation draft, const disk::RecordHeader& header, Handle* held) {
  const std::chrono::milliseconds age(std::max<std::int64_t>(0, unix_ms_() - header.created_unix_ms));
  const std::chrono::milliseconds time_to_live(header.expires_unix_ms == 0 ? 0 : header.expires_unix_ms - header.created_unix_ms);
  Handle taken;
  const PutStatus status = memory_.commit_aged(std::move(draft), age, time_to_live, &taken);
  if (taken) *held = std::move(taken);
  return status;
}

std::uint64_t Loader::skipped() const {
  const std::lock_guard lock(mutex_);
  return skipped_;
}
std::uint64_t Loader::late() const {
  const std::lock_guard lock(mutex_);
  return late_;
}

}   // namespace tensorcache::cache
