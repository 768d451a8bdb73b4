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

std::chrono::milliseconds left_until(std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return std::max(left, std::chrono::milliseconds(0));
}

}   // namespace

WriteBehind::WriteBehind(memory::MemoryTier& memory, const LowerTiers& lower, ChangeLock& changes, std::function<std::int64_t()> unix_ms,
                         OnEvent on_event)
    : memory_(memory), lower_(lower), changes_(changes), unix_ms_(std::move(unix_ms)), on_event_(std::move(on_event)) {
  for (std::size_t i = 0; i < lower.size(); ++i) tiers_.push_back(std::make_unique<Tier>());
}

// A value that cannot be queued, even for lack of memory, is dropped: it is stored in memory.
void WriteBehind::write(const Handle& stored, std::size_t count) {
  try {
    for (std::size_t i = 0; i < count; ++i) write_with_parents(i, stored);
  } catch (const std::bad_alloc&) {
    dropped_ = true;
  }
}

void WriteBehind::forget(const Key& key) {
  for (const auto& tier : tiers_) tier->backlog.erase(key);
}

void WriteBehind::forget_cleared() {
  for (const auto& tier : tiers_) {
    tier->backlog.erase_if([this](const Key& key) { return !memory_.contains(key); });
  }
}

// A parent may be in memory only: its write was dropped, or the tier evicted it. A value whose
// parent waits waits too: a tier drops a value without its parent.
WriteBehind::Result WriteBehind::write_with_parents(std::size_t i, const Handle& stored) {
  tier::LowerTier& tier = *lower_[i];
  const tier::Room room = tier.room(stored.bytes().size());
  if (room == tier::Room::kFull) return wait_for_room(i, stored);
  std::vector<Handle> missing;
  const memory::Entry* entry = &memory::MemoryTier::entry_of(stored);
  while (room == tier::Room::kFree && entry->parent != nullptr && !tier.knows(entry->above()->key())) {
    Handle parent = memory_.get(entry->above()->key(), Count::kNo);
    if (!parent) break;
    entry = &memory::MemoryTier::entry_of(parent);
    missing.push_back(std::move(parent));
  }
  for (auto handle = missing.rbegin(); handle != missing.rend(); ++handle) {
    if (write_one(i, *handle) == Result::kWaits) return wait_for_room(i, stored);
  }
  return write_one(i, stored);
}

WriteBehind::Result WriteBehind::write_one(std::size_t i, const Handle& handle) {
  tier::LowerTier& tier = *lower_[i];
  tier::Value value = value_of(handle);
  // Does not write values removed meanwhile.
  const Result result = changes_.unchanged([&] {
    if (memory::MemoryTier::is_gone(handle)) return Result::kGone;
    if (tier.room(value.bytes.size()) == tier::Room::kFull) return Result::kWaits;
    return tier.put(std::move(value)) ? Result::kQueued : Result::kDropped;
  });
  if (result == Result::kWaits) return wait_for_room(i, handle);
  if (result == Result::kDropped) dropped_ = true;
  return result;
}

// A value that waits already keeps its place.
WriteBehind::Result WriteBehind::wait_for_room(std::size_t i, const Handle& handle) {
  const memory::Entry& entry = memory::MemoryTier::entry_of(handle);
  const Result result = changes_.unchanged([&] {
    if (memory::MemoryTier::is_gone(handle)) return Result::kGone;
    return tiers_[i]->backlog.push(entry.key(), entry.value_bytes()) ? Result::kWaits : Result::kDropped;
  });
  if (result == Result::kWaits) ask(i);
  if (result == Result::kDropped) lose(1);
  return result;
}

tier::Value WriteBehind::value_of(const Handle& handle) const {
  const memory::Entry& entry = memory::MemoryTier::entry_of(handle);
  tier::Value value;
  value.key = entry.key();
  value.bytes = handle.bytes();
  value.holder = std::make_shared<Handle>(memory_.share(handle));
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

void WriteBehind::lose(std::uint64_t values) {
  constexpr std::int64_t kPauseMs = 60'000;
  dropped_ = true;
  const std::uint64_t lost = lost_.fetch_add(values, std::memory_order_relaxed) + values;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const std::int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  std::int64_t next_ms = next_note_ms_.load(std::memory_order_relaxed);
  if (!on_event_ || now_ms < next_ms || !next_note_ms_.compare_exchange_strong(next_ms, now_ms + kPauseMs)) return;
  try {
    on_event_("the disk is slower than new values arrive: " + std::to_string(lost) + " values left memory before they were written");
  } catch (...) {   // a log message must not fail a put
  }
}

void WriteBehind::ask(std::size_t i) {
  if (tiers_[i]->asked.exchange(true)) return;
  try {
    lower_[i]->when_written([ref = written_.ref(), i](bool) { ref.call([&](WriteBehind* self) { self->on_written(i); }); });
  } catch (...) {
    tiers_[i]->asked = false;
    throw;
  }
}

// Without memory even for this, the next value that waits asks.
void WriteBehind::ask_again(std::size_t i) noexcept {
  try {
    ask(i);
  } catch (...) {
  }
}

// What still waits after drain() waits for a tier that works: of a broken one all was dropped.
void WriteBehind::on_written(std::size_t i) {
  tiers_[i]->asked = false;
  try {
    drain(i);
    if (!tiers_[i]->backlog.empty()) ask(i);
  } catch (const std::bad_alloc&) {
    dropped_ = true;
    ask_again(i);
  }
}

void WriteBehind::drain(std::size_t i) {
  Tier& waiting = *tiers_[i];
  const MutexLock lock(waiting.draining);
  while (const auto item = waiting.backlog.front()) {
    const Handle handle = memory_.get(item->key, Count::kNo);
    Result result = Result::kGone;
    if (handle) {
      result = write_with_parents(i, handle);
      if (result == Result::kWaits) return;
      if (result == Result::kGone) continue;   // another value may have taken its place
    } else if (!lower_[i]->knows(item->key)) {
      lose(1);
    }
    waiting.backlog.erase(*item);
  }
}

std::vector<std::uint64_t> WriteBehind::last_numbers() const {
  std::vector<std::uint64_t> last;
  for (const auto& tier : tiers_) last.push_back(tier->backlog.last_number());
  return last;
}

std::optional<std::size_t> WriteBehind::behind(const std::vector<std::uint64_t>& numbers) const {
  for (std::size_t i = 0; i < tiers_.size(); ++i) {
    const auto oldest = tiers_[i]->backlog.oldest_number();
    if (oldest && *oldest <= numbers[i]) return i;
  }
  return std::nullopt;
}

bool WriteBehind::flush(std::chrono::milliseconds time) {
  const auto deadline = deadline_after(time);
  const std::vector<std::uint64_t> last = last_numbers();
  bool written = true;
  for (bool waited = true; waited;) {
    waited = behind(last).has_value();
    for (const auto& tier : lower_) written = tier->flush(left_until(deadline)) && written;
    for (std::size_t i = 0; waited && i < lower_.size(); ++i) drain(i);
    if (waited && left_until(deadline).count() == 0) {
      written = false;
      break;
    }
  }
  return !dropped_.exchange(false) && written;
}

// One when_flushed(): values that waited for room when it began are queued first.
struct WriteBehind::Flush {
  std::vector<std::uint64_t> last;   // the latest push of each tier when it began
  std::atomic<std::size_t> tiers_left;
  std::atomic<bool> written{true};
  std::function<void(bool)> done;
  Flush(std::vector<std::uint64_t> pushes, std::function<void(bool)> callback)
      : last(std::move(pushes)), tiers_left(last.size()), done(std::move(callback)) {}
};

void WriteBehind::when_flushed(std::function<void(bool)> done) {
  if (lower_.empty()) return call_back(done, true);
  advance(std::make_shared<Flush>(last_numbers(), std::move(done)));
}

void WriteBehind::advance(const std::shared_ptr<Flush>& flush) {
  if (const auto i = behind(flush->last)) return advance_backlog(*i, flush);
  for (const auto& tier : lower_) {
    tier->when_written([flush](bool written) {
      if (!written) flush->written = false;
      if (--flush->tiers_left == 0) call_back(flush->done, flush->written.load());
    });
  }
}

void WriteBehind::advance_backlog(std::size_t i, const std::shared_ptr<Flush>& flush) {
  lower_[i]->when_written([ref = written_.ref(), i, flush](bool written) {
    bool goes_on = false;
    try {
      ref.call([&](WriteBehind* self) {
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

void WriteBehind::stop(std::chrono::milliseconds time) {
  const auto deadline = deadline_after(time);
  const std::vector<std::uint64_t> last = last_numbers();
  while (behind(last) && left_until(deadline).count() > 0) {
    for (const auto& tier : lower_) static_cast<void>(tier->flush(left_until(deadline)));
    for (std::size_t i = 0; i < lower_.size(); ++i) drain(i);
  }
  written_.close();
  for (const auto& tier : tiers_) lost_.fetch_add(tier->backlog.clear(), std::memory_order_relaxed);
}

std::uint64_t WriteBehind::waiting_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& tier : tiers_) bytes += tier->backlog.bytes();
  return bytes;
}

}   // namespace tensorcache::cache
