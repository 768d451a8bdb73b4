#include "cache/loader.h"

#include <algorithm>
#include <utility>

namespace tensorcache {
namespace {

constexpr int kReaders = 2;
constexpr std::size_t kMostJobs = 256;          // more than that, and computing is surely faster
constexpr std::uint64_t kTryAnywayEvery = 32;   // of the loads that do not seem worth it: a disk may have become faster
constexpr std::chrono::seconds kWaitForRecovery{2};

}   // namespace

Loader::Loader(detail::MemoryTier& memory, disk::DiskTier& disk, std::function<std::int64_t()> unix_ms)
    : memory_(memory), disk_(disk), unix_ms_(std::move(unix_ms)) {
  for (int i = 0; i < kReaders; ++i) threads_.emplace_back([this] { work(); });
  threads_.emplace_back([this] { watch_deadlines(); });
}

Loader::~Loader() {
  std::vector<std::shared_ptr<Job>> left;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    left = active_;
    changed_.notify_all();
  }
  for (const auto& job : left) finish(job, false);
  for (std::thread& thread : threads_) thread.join();
}

bool Loader::load(std::vector<Key> chain, std::chrono::milliseconds patience, std::function<void()> done) {
  const std::size_t have = memory_.peek(chain);
  const auto missing = std::span<const Key>(chain).subspan(have);
  if (missing.empty()) return false;
  // Right after a start nobody knows yet what is there.
  const bool ready = disk_.wait_ready(std::chrono::milliseconds(0));
  if (ready && (!disk_.contains(missing.front()) || !worth_it(missing, patience))) return false;
  auto job = std::make_shared<Job>();
  job->chain = std::move(chain);
  job->deadline = Clock::now() + patience;
  job->done = std::move(done);
  const std::lock_guard lock(mutex_);
  if (stopping_ || active_.size() >= kMostJobs || waiting_.size() >= kMostJobs) return false;
  if (stuck_ >= kReaders) {   // a disk that hangs is not worth waiting for
    ++skipped_;
    return false;
  }
  active_.push_back(job);
  waiting_.push_back(std::move(job));
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
    static_cast<void>(disk_.wait_ready(kWaitForRecovery));
    load_now(job->chain);
    finish(job, false);
    const std::lock_guard lock(mutex_);
    job->running = false;
    stuck_ -= job->stuck ? 1 : 0;
  }
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

// Whoever comes first: the end of the loading, or the deadline.
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
  if (done) done();
}

void Loader::load_now(std::span<const Key> chain) {
  while (!chain.empty() && load_run(chain)) {
  }
}

bool Loader::load_run(std::span<const Key>& chain) {
  chain = chain.subspan(memory_.peek(chain));
  if (chain.empty()) return false;
  {
    std::unique_lock lock(mutex_);
    if (reading_.contains(chain.front())) {
      changed_.wait(lock, [&] { return !reading_.contains(chain.front()) || stopping_; });
      if (stopping_ || !memory_.contains(chain.front())) return false;   // it could not be read, or did not stay
      return true;
    }
    reading_.insert(chain.begin(), chain.end());
  }
  const std::size_t count = read(chain);
  const std::lock_guard lock(mutex_);
  for (const Key& key : chain) reading_.erase(key);
  changed_.notify_all();
  return count > 0;
}

std::size_t Loader::read(std::span<const Key> keys) {
  std::uint64_t forgotten = 0;
  {
    const std::lock_guard lock(forget_mutex_);
    forgotten = forgotten_;
  }
  std::vector<Draft> drafts(keys.size());
  const std::int64_t now_ms = unix_ms_();
  return disk_.read(
      keys,
      [&](std::size_t i, const disk::DiskTier::Found& found) -> std::span<std::byte> {
        if (stopping_) return {};
        PutOptions options{.kind = found.kind, .owner = found.owner, .source = static_cast<std::uint32_t>(found.source), .parent = found.parent};
        try {
          drafts[i] = memory_.reserve(keys[i], found.value_bytes, options);
        } catch (const std::bad_alloc&) {
          return {};
        }
        return drafts[i].bytes();
      },
      [&](std::size_t i, const disk::RecordHeader& header) {
        const std::chrono::milliseconds age(std::max<std::int64_t>(0, now_ms - header.created_unix_ms));
        const std::chrono::milliseconds time_to_live(header.expires_unix_ms == 0 ? 0 : header.expires_unix_ms - header.created_unix_ms);
        const std::lock_guard lock(forget_mutex_);
        if (forgotten != forgotten_) return false;   // it may have been this one
        const PutStatus status = memory_.commit_aged(std::move(drafts[i]), age, time_to_live);
        return status == PutStatus::kStored || status == PutStatus::kAlreadyStored;
      });
}

std::uint64_t Loader::skipped() const {
  const std::lock_guard lock(mutex_);
  return skipped_;
}
std::uint64_t Loader::late() const {
  const std::lock_guard lock(mutex_);
  return late_;
}

}   // namespace tensorcache
