#include "store/cache/write_behind.h"

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

#include "base/core/call_back.h"
#include "base/core/deadline.h"

namespace tensorcache::cache {
namespace {

using Count = memory::MemoryTier::Count;

// There may be room later.
bool may_have_room(tier::Room room) { return room == tier::Room::kFull || room == tier::Room::kBroken; }

std::chrono::milliseconds left_until(std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return std::max(left, std::chrono::milliseconds(0));
}

}   // namespace

// Keeps the value in memory until the tier has written or dropped it.
struct WriteBehind::Held final : tier::Origin {
  Held(Handle value, memory::MemoryTier& stored_in, ChangeLock& change_lock, CallbackTarget<WriteBehind*>::Ref behind, std::size_t of,
       unsigned handed_back)
      : handle(std::move(value)), memory(stored_in), changes(change_lock), write_behind(std::move(behind)), tier(of), returns(handed_back) {}

  // Does not wait for a clear(): what that has not come to yet is taken back, and forgotten then.
  [[nodiscard]] bool is_gone() const noexcept override {
    return changes.unchanged([&] { return memory::MemoryTier::is_gone(handle) || memory.is_expired(handle); });
  }
  [[nodiscard]] bool take_back() const noexcept override {
    bool taken = false;
    try {
      write_behind.call([&](WriteBehind* self) { taken = self->take_back(tier, handle, returns); });
    } catch (const std::bad_alloc&) {   // then it is lost
    }
    return taken;
  }

  const Handle handle;
  memory::MemoryTier& memory;
  ChangeLock& changes;
  const CallbackTarget<WriteBehind*>::Ref write_behind;
  const std::size_t tier;
  const unsigned returns;   // times that the tier handed it back
};

WriteBehind::WriteBehind(memory::MemoryTier& memory, const LowerTiers& lower, ChangeLock& changes, std::function<std::int64_t()> unix_ms,
                         OnEvent on_event)
    : memory_(memory), lower_(lower), changes_(changes), unix_ms_(std::move(unix_ms)), on_event_(std::move(on_event)) {
  for (std::size_t i = 0; i < lower.size(); ++i) {
    tiers_.push_back(std::make_unique<Tier>());
    lower[i]->when_room([ref = calls_.ref(), i] { ref.call([i](WriteBehind* self) { self->drain(i); }); });
  }
}

// A value that can neither be queued nor wait, for lack of memory, is lost: it is stored in memory.
void WriteBehind::write(const Handle& stored, std::size_t count, tier::Urgency urgency) {
  try {
    for (std::size_t i = 0; i < count; ++i) {
      if (urgency == tier::Urgency::kUrgent)
        write_urgent(i, stored);
      else
        write_with_parents(i, stored, {});
    }
  } catch (const std::bad_alloc&) {
    dropped_ = true;
    ++lost_;
  }
}

// A chained value does not wait: room for it says nothing about room for its parents.
void WriteBehind::write_urgent(std::size_t i, const Handle& stored) {
  constexpr std::chrono::seconds kMostTime{1};
  const auto deadline = deadline_after(kMostTime);
  const bool chained = memory::MemoryTier::entry_of(stored).parent != nullptr;
  Attempt attempt{.waiting = nullptr, .urgency = tier::Urgency::kUrgent};
  std::optional<WriteBacklog::Item> waiting;
  while (write_with_parents(i, stored, attempt) == Result::kWaits) {
    const auto left = left_until(deadline);
    if (chained || left.count() == 0 || !lower_[i]->wait_for_queue(stored.bytes().size(), left)) return;
    waiting = tiers_[i]->backlog.find(memory::MemoryTier::entry_of(stored).key());
    if (!waiting) return;   // queued meanwhile, or removed
    attempt.waiting = &*waiting;
  }
}

void WriteBehind::forget(const Key& key) noexcept {
  for (const auto& tier : tiers_) tier->backlog.erase(key);
}

// A parent may be in memory only: its write was dropped, or the tier evicted it. A value whose
// parent waits waits too: a tier drops a value without its parent.
WriteBehind::Result WriteBehind::write_with_parents(std::size_t i, const Handle& stored, const Attempt& attempt) {
  tier::LowerTier& tier = *lower_[i];
  const tier::Room room = tier.room(stored.bytes().size(), attempt.urgency);
  if (may_have_room(room)) return wait_for_room(i, stored, attempt.returns());
  std::vector<Handle> missing;
  const memory::Entry* entry = &memory::MemoryTier::entry_of(stored);
  while (room == tier::Room::kFree && entry->parent != nullptr && !tier.knows(entry->above()->key())) {
    Handle parent = memory_.get(entry->above()->key(), Count::kNo);
    if (!parent) break;
    entry = &memory::MemoryTier::entry_of(parent);
    missing.push_back(std::move(parent));
  }
  for (auto handle = missing.rbegin(); handle != missing.rend(); ++handle) {
    if (write_one(i, *handle, {.waiting = nullptr, .urgency = attempt.urgency}) == Result::kWaits) {
      return wait_for_room(i, stored, attempt.returns());
    }
  }
  return write_one(i, stored, attempt);
}

// Queues a value that waits only once, whoever comes first: a tier takes a second one for its
// replacement, and drops what is chained behind the first.
WriteBehind::Result WriteBehind::write_one(std::size_t i, const Handle& handle, const Attempt& attempt) {
  tier::LowerTier& tier = *lower_[i];
  WriteBacklog& backlog = tiers_[i]->backlog;
  tier::Value value = value_of(i, handle, attempt.returns());
  value.urgency = attempt.urgency;
  const std::size_t bytes = value.bytes.size();
  const auto has_no_room = [&] { return may_have_room(tier.room(bytes, attempt.urgency)); };
  // Does not write values removed meanwhile.
  const Result result = changes_.unchanged([&] {
    if (memory::MemoryTier::is_gone(handle) || (attempt.waiting != nullptr && !backlog.holds(*attempt.waiting))) return Result::kGone;
    if (has_no_room()) return Result::kWaits;
    if (!tier.put(std::move(value))) return has_no_room() ? Result::kWaits : Result::kDropped;
    backlog.erase(memory::MemoryTier::entry_of(handle).key());
    return Result::kQueued;
  });
  if (result == Result::kWaits) return wait_for_room(i, handle, attempt.returns());
  if (result == Result::kDropped) dropped_ = true;
  return result;
}

// Where too many wait, one that was evicted meanwhile makes room.
WriteBehind::Result WriteBehind::wait_for_room(std::size_t i, const Handle& handle, unsigned returns) {
  Result result = push(i, handle, returns);
  if (result == Result::kDropped && give_up_oldest(i)) result = push(i, handle, returns);
  if (result == Result::kDropped) lose(i);
  return result;
}

// A value that waits already keeps its place. A clear() may have forgotten this one just before.
WriteBehind::Result WriteBehind::push(std::size_t i, const Handle& handle, unsigned returns) {
  const memory::Entry& entry = memory::MemoryTier::entry_of(handle);
  WriteBacklog& backlog = tiers_[i]->backlog;
  const Result result = changes_.unchanged([&] {
    if (memory::MemoryTier::is_gone(handle)) return Result::kGone;
    const auto item = backlog.push(entry.key(), entry.value_bytes(), entry.lifetime, returns);
    if (!item) return Result::kDropped;
    if (!memory::MemoryTier::is_gone(handle)) return Result::kWaits;
    backlog.erase(*item);
    return Result::kGone;
  });
  if (result == Result::kWaits) lower_[i]->want_room();
  return result;
}

// RETURNS false if the oldest value may still be written.
bool WriteBehind::give_up_oldest(std::size_t i) {
  const auto oldest = tiers_[i]->backlog.front();
  if (!oldest || memory_.contains(oldest->key)) return false;
  bool lost = false;
  const bool settled = changes_.if_settled([&] {
    lost = is_lost(i, *oldest);
    return true;
  });
  if (lost) lose(i);
  return settled;
}

// Of a value that is not in memory any more. Decides while none is being removed, because what a
// removal takes out of memory is forgotten a moment later.
void WriteBehind::give_up(std::size_t i, const WriteBacklog::Item& item) {
  if (changes_.settled([&] { return is_lost(i, item); })) lose(i);
}

bool WriteBehind::is_lost(std::size_t i, const WriteBacklog::Item& item) {
  const bool expires = item.lifetime.time_to_live().count() != 0;
  return tiers_[i]->backlog.erase(item) && !(expires && item.lifetime.over(memory_.now())) && !lower_[i]->knows(item.key);
}

// From a tier that works, a few times: where the tier evicts its parent each time, it would come back
// for ever.
bool WriteBehind::take_back(std::size_t i, const Handle& handle, unsigned returns) {
  constexpr unsigned kMostReturns = 3;
  const bool broken = is_broken(i);
  if (!broken && returns >= kMostReturns) return false;
  const Result result = push(i, handle, broken ? returns : returns + 1);
  if (result == Result::kWaits) ++*taken_back_;
  return result != Result::kDropped;
}

tier::Value WriteBehind::value_of(std::size_t i, const Handle& handle, unsigned returns) const {
  const memory::Entry& entry = memory::MemoryTier::entry_of(handle);
  const auto held = std::make_shared<const Held>(memory_.share(handle), memory_, changes_, calls_.ref(), i, returns);
  tier::Value value;
  value.key = entry.key();
  value.bytes = handle.bytes();
  value.holder = held;
  value.origin = held.get();
  value.kind = entry.kind;
  value.owner = entry.owner;
  value.source = entry.source;
  if (entry.parent != nullptr) value.parent = entry.above()->key();
  value.created_unix_ms = unix_ms_() - handle.age().count();
  if (const auto time_to_live = entry.lifetime.time_to_live(); time_to_live.count() != 0) {
    value.expires_unix_ms = value.created_unix_ms + time_to_live.count();
  }
  return value;
}

void WriteBehind::lose(std::size_t i) {
  constexpr std::int64_t kPauseMs = 60'000;
  dropped_ = true;
  const std::uint64_t lost = ++lost_;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const std::int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  std::int64_t next_ms = next_note_ms_.load(std::memory_order_relaxed);
  if (!on_event_ || now_ms < next_ms || !next_note_ms_.compare_exchange_strong(next_ms, now_ms + kPauseMs)) return;
  try {
    const std::string why = is_broken(i) ? "the disk does not work" : "the disk is slower than new values arrive";
    on_event_(why + ": " + std::to_string(lost) + " values left memory before they were written");
  } catch (...) {   // a log message must not fail a put
  }
}

// A failed allocation leaves the rest waiting: the tier calls again.
void WriteBehind::drain(std::size_t i) {
  WriteBacklog& backlog = tiers_[i]->backlog;
  const MutexLock lock(tiers_[i]->draining);
  while (const auto item = backlog.front()) {
    const Handle handle = memory_.get(item->key, Count::kNo);
    if (!handle) {
      give_up(i, *item);
      continue;
    }
    const Result result = write_with_parents(i, handle, {.waiting = &*item});
    if (result == Result::kWaits) return;
    if (result != Result::kGone) backlog.erase(*item);   // gone: queued meanwhile, or another value may have taken its place
  }
}

WriteBehind::Numbers WriteBehind::last_numbers() const {
  Numbers last;
  for (const auto& tier : tiers_) last.push_back(tier->backlog.last_number());
  return last;
}

std::optional<std::size_t> WriteBehind::behind(const Numbers& numbers, Of tiers) const {
  for (std::size_t i = 0; i < tiers_.size(); ++i) {
    const auto oldest = tiers_[i]->backlog.oldest_number();
    if (oldest && *oldest <= numbers[i] && (tiers == Of::kAll || !is_broken(i))) return i;
  }
  return std::nullopt;
}

// Of a broken tier nothing is waited for: it may stay so for long.
bool WriteBehind::flush(std::chrono::milliseconds time) {
  const auto deadline = deadline_after(time);
  bool written = true;
  for (bool all = false; !all && written;) {
    const std::uint64_t taken_back = taken_back_->load();
    written = flush_until(last_numbers(), deadline);
    all = taken_back == taken_back_->load();
  }
  return !dropped_.exchange(false) && written;
}

bool WriteBehind::flush_until(const Numbers& last, std::chrono::steady_clock::time_point deadline) {
  bool written = true;
  for (;;) {
    const bool waits = behind(last, Of::kAll).has_value();
    for (const auto& tier : lower_) written = tier->flush(left_until(deadline)) && written;
    if (!waits) return written;
    for (std::size_t i = 0; i < lower_.size(); ++i) drain(i);
    const bool broken = behind(last, Of::kAll) && !behind(last, Of::kWorking);
    if (broken || left_until(deadline).count() == 0) return false;
  }
}

// One when_flushed(): values that waited for room when it began are queued first.
struct WriteBehind::Flush {
  Flush(std::function<void(bool)> callback, CallbackTarget<WriteBehind*>::Ref ref, std::shared_ptr<std::atomic<std::uint64_t>> taken)
      : done(std::move(callback)), write_behind(std::move(ref)), taken_back(std::move(taken)) {}
  const std::function<void(bool)> done;
  const CallbackTarget<WriteBehind*>::Ref write_behind;
  const std::shared_ptr<std::atomic<std::uint64_t>> taken_back;
  Numbers last;                          // the latest push of each tier when it began
  std::uint64_t taken_back_before = 0;   // likewise
  std::atomic<std::size_t> tiers_left{0};
  std::atomic<bool> written{true};
};

void WriteBehind::when_flushed(std::function<void(bool)> done) {
  if (lower_.empty()) return call_back(done, true);
  begin(std::make_shared<Flush>(std::move(done), calls_.ref(), taken_back_));
}

void WriteBehind::begin(const std::shared_ptr<Flush>& flush) {
  flush->taken_back_before = taken_back_->load();
  flush->last = last_numbers();
  flush->tiers_left = lower_.size();
  advance(flush);
}

void WriteBehind::advance(const std::shared_ptr<Flush>& flush) {
  if (const auto i = behind(flush->last, Of::kWorking)) return advance_backlog(*i, flush);
  if (behind(flush->last, Of::kAll)) flush->written = false;
  for (const auto& tier : lower_) {
    tier->when_written([flush](bool written) {
      if (!written) flush->written = false;
      if (--flush->tiers_left == 0) end(flush);
    });
  }
}

void WriteBehind::advance_backlog(std::size_t i, const std::shared_ptr<Flush>& flush) {
  lower_[i]->when_written([i, flush](bool written) {
    bool goes_on = false;
    try {
      flush->write_behind.call([&](WriteBehind* self) {
        self->drain(i);
        if (!written) flush->written = false;
        self->advance(flush);
        goes_on = true;
      });
    } catch (const std::bad_alloc&) {   // answered below
    }
    if (!goes_on) call_back(flush->done, false);
  });
}

// The tiers wrote what they had: if they handed something back meanwhile, that is waited for, too.
void WriteBehind::end(const std::shared_ptr<Flush>& flush) {
  bool goes_on = false;
  if (flush->written && flush->taken_back_before != flush->taken_back->load()) {
    flush->written = false;   // unless it goes on
    try {
      flush->write_behind.call([&](WriteBehind* self) {
        flush->written = true;
        goes_on = true;
        self->begin(flush);
      });
    } catch (const std::bad_alloc&) {
      goes_on = false;
      flush->written = false;
    }
  }
  if (!goes_on) call_back(flush->done, flush->written.load());
}

void WriteBehind::stop(std::chrono::milliseconds time) {
  const auto deadline = deadline_after(time);
  const Numbers last = last_numbers();
  while (behind(last, Of::kWorking) && left_until(deadline).count() > 0) {
    for (const auto& tier : lower_) static_cast<void>(tier->flush(left_until(deadline)));
    for (std::size_t i = 0; i < lower_.size(); ++i) drain(i);
  }
  calls_.close();
  for (const auto& tier : tiers_) lost_.fetch_add(tier->backlog.clear(), std::memory_order_relaxed);
}

std::uint64_t WriteBehind::waiting_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& tier : tiers_) bytes += tier->backlog.bytes();
  return bytes;
}

}   // namespace tensorcache::cache
