#include "store/cache/loader.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/core/call_back.h"
#include "base/core/deadline.h"

namespace tensorcache::cache {
namespace {

constexpr int kReaders = 2;
constexpr std::size_t kMaxJobs = 256;           // beyond that computing is faster
constexpr std::uint64_t kTryAnywayEvery = 32;   // of the loads that seem too slow, to notice that a disk became faster
constexpr std::chrono::seconds kWaitForRecovery{2};
constexpr int kMaxLooks = 100;   // lookups by one call of a value that is evicted or written each time

// Waits until every tier knows what it holds. RETURNS false on timeout.
bool are_ready(const LowerTiers& tiers, std::chrono::milliseconds time) {
  const auto deadline = deadline_after(time);
  return std::all_of(tiers.begin(), tiers.end(), [&](const auto& tier) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    return tier->wait_ready(std::max(left, std::chrono::milliseconds(0)));
  });
}

}   // namespace

// The keys that this caller reads. Its destruction wakes the callers that wait for them.
class Loader::Claim {
 public:
  // Claims the leading keys that no other caller reads. REQUIRES: the loader's mutex is held.
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

Loader::Loader(memory::MemoryTier& memory, const LowerTiers& lower, ChangeLock& changes, std::function<std::int64_t()> unix_ms, OnLoaded on_loaded)
    : memory_(memory), lower_(lower), changes_(changes), unix_ms_(std::move(unix_ms)), on_loaded_(std::move(on_loaded)) {
  try {
    threads_.reserve(kReaders + 1);
    for (int i = 0; i < kReaders; ++i) threads_.emplace_back([this] { work(); });
    threads_.emplace_back([this] { watch_deadlines(); });
  } catch (...) {   // no more threads available
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

bool Loader::load(std::vector<Key> chain, std::chrono::milliseconds timeout, std::function<void()> done) {
  const std::size_t have = memory_.peek(chain);
  const auto missing = std::span<const Key>(chain).subspan(have);
  if (missing.empty()) return false;
  // Right after the start the tiers' contents are unknown.
  const bool ready = are_ready(lower_, std::chrono::milliseconds(0));
  const std::size_t at = tier_with(missing.front());
  if (ready && (at == lower_.size() || !worth_it(*lower_[at], missing, timeout))) return false;
  auto job = std::make_shared<Job>();
  job->chain = std::move(chain);
  job->deadline = deadline_after(timeout);
  job->done = std::move(done);
  const std::lock_guard lock(mutex_);
  if (stopping_ || active_.size() >= kMaxJobs || waiting_.size() >= kMaxJobs) return false;
  if (stuck_ >= kReaders) {   // do not wait for a disk that hangs
    ++skipped_;
    return false;
  }
  active_.reserve(active_.size() + 1);
  waiting_.push_back(job);
  active_.push_back(std::move(job));
  changed_.notify_all();
  return true;
}

bool Loader::worth_it(const tier::LowerTier& tier, std::span<const Key> missing, std::chrono::milliseconds timeout) {
  const auto stored = missing.first(tier.peek(missing));
  const auto seconds = tier.read_seconds(tier.bytes_of(stored));
  if (!seconds || *seconds < std::chrono::duration<double>(timeout).count()) return true;
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
      if (!job->done) continue;   // timed out: do not add load to a slow disk
    }
    run(job);
  }
}

void Loader::run(const std::shared_ptr<Job>& job) {
  static_cast<void>(are_ready(lower_, kWaitForRecovery));
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
      const Clock::time_point deadline = (*first)->deadline;   // a copy: the job may be freed meanwhile
      changed_.wait_until(lock, deadline);
    } else {
      auto job = std::shared_ptr<Job>(*first);
      lock.unlock();
      finish(job, true);
      lock.lock();
    }
  }
}

// Called after loading and at the deadline; only the first call has an effect.
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
    const auto missing = chain.subspan(memory_.peek(chain));
    if (missing.empty()) return Outcome::kAll;
    Outcome outcome = Outcome::kNotStored;
    for (std::size_t at = 0; at < lower_.size() && outcome == Outcome::kNotStored; ++at) {
      const std::size_t count = lower_[at]->peek(missing);
      if (count > 0) outcome = load_run(missing, at, count, held);
    }
    if (outcome == Outcome::kLoaded) looks = 0;
    if (outcome != Outcome::kLoaded && outcome != Outcome::kChanged && outcome != Outcome::kNoParent) return outcome;
  }
  return Outcome::kUnavailable;
}

// Usually reads one copy, and returns the pin of the read. Walks the chain only if a parent is
// missing.
Lookup Loader::fetch(const Key& key, std::size_t at) {
  for (int looks = 0; looks < kMaxLooks; ++looks) {
    Handle held;
    Outcome outcome = load_run(std::span(&key, 1), at, 1, &held);
    if (held) return {std::move(held), false};
    if (outcome == Outcome::kNoParent) outcome = load_chain(lower_[at]->chain_of(key), &held);
    if (Handle handle = memory_.get(key, memory::MemoryTier::Count::kNo)) return {std::move(handle), false};
    if (outcome == Outcome::kUnavailable) return {Handle(), true};
    at = tier_with(key);
    if (at < lower_.size()) continue;
    // The value may have been replaced since the memory lookup: look up both without changes in
    // between.
    Handle handle = changes_.unchanged([&] {
      Handle found = memory_.get(key, memory::MemoryTier::Count::kNo);
      if (!found) at = tier_with(key);
      return found;
    });
    if (handle || at == lower_.size()) return {std::move(handle), false};
  }
  return {Handle(), true};
}

std::size_t Loader::tier_with(const Key& key) const {
  const auto found = std::find_if(lower_.begin(), lower_.end(), [&](const auto& tier) { return tier->contains(key); });
  return static_cast<std::size_t>(found - lower_.begin());
}

Loader::Outcome Loader::load_run(std::span<const Key> missing, std::size_t at, std::size_t count, Handle* held) {
  Claim claim(*this, missing.first(count));
  {
    std::unique_lock lock(mutex_);
    if (const auto found = reading_.find(missing.front()); found != reading_.end()) {
      const std::shared_ptr<Reading> reading = found->second;
      changed_.wait(lock, [&] { return reading->over || stopping_; });
      if (!reading->over) return Outcome::kUnavailable;
      return reading->outcome == Outcome::kUnavailable && !memory_.contains(missing.front()) ? Outcome::kUnavailable : Outcome::kChanged;
    }
    claim.take_locked();
  }
  Handle last;   // pins its parents, too
  const Outcome outcome = read(*lower_[at], claim.keys(), &last);
  claim.set(outcome);
  if (last && at > 0) on_loaded_(last, at);
  if (last) *held = std::move(last);
  return outcome;
}

Loader::Outcome Loader::read(tier::LowerTier& tier, std::span<const Key> keys, Handle* last) {
  using tier::Verdict;
  std::vector<Reservation> reservations(keys.size());
  PutStatus refused = PutStatus::kStored;
  bool has_no_parent = false;
  const auto result = tier.read(
      keys,
      [&](std::size_t i, const tier::Found& found) -> std::span<std::byte> {
        reservations[i] = Reservation();   // releases the reservation of a record that moved
        if (stopping_) return {};
        has_no_parent = i == 0 && found.parent && !memory_.contains(*found.parent);
        if (has_no_parent) return {};
        const PutOptions options{
            .kind = found.kind, .owner = found.owner, .source = static_cast<std::uint32_t>(found.source), .parent = found.parent};
        try {
          reservations[i] = memory_.reserve(keys[i], found.value_bytes, options);
        } catch (const std::bad_alloc&) {
          return {};
        }
        refused = reservations[i].status();
        return reservations[i].bytes();
      },
      [&](std::size_t i, const tier::Copy& copy) {
        return changes_.unchanged([&] {
          if (!tier.holds(keys[i], copy)) return Verdict::kMoved;
          refused = take(std::move(reservations[i]), copy, last);
          return refused == PutStatus::kStored || refused == PutStatus::kAlreadyStored ? Verdict::kTaken : Verdict::kStop;
        });
      });
  if (result.accepted > 0) return Outcome::kLoaded;
  switch (result.end) {
    case tier::ReadEnd::kAll:
    case tier::ReadEnd::kNotStored:
      return Outcome::kChanged;
    case tier::ReadEnd::kStopped:
      if (has_no_parent) return Outcome::kNoParent;
      return refused == PutStatus::kAlreadyStored || refused == PutStatus::kParentMissing ? Outcome::kChanged : Outcome::kUnavailable;
    case tier::ReadEnd::kFailed:
      break;
  }
  return Outcome::kUnavailable;
}

PutStatus Loader::take(Reservation reservation, const tier::Copy& copy, Handle* last) {
  const std::chrono::milliseconds age(std::max<std::int64_t>(0, unix_ms_() - copy.created_unix_ms));
  const std::chrono::milliseconds time_to_live(copy.expires_unix_ms == 0 ? 0 : copy.expires_unix_ms - copy.created_unix_ms);
  Handle handle;
  const PutStatus status = memory_.commit_aged(std::move(reservation), age, time_to_live, &handle);
  if (handle) *last = std::move(handle);
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
