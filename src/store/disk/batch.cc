// Writes one batch: removals first, then the values that were not removed since.
#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "base/core/call_back.h"
#include "store/disk/writer.h"

namespace tensorcache::disk {

// Questions, and removals by a selection or purge, keep their position in the order.
void Writer::write_batch() {
  while (!writing_values_.empty() || !writing_removals_.empty()) {
    const auto question = std::find_if(writing_values_.begin(), writing_values_.end(), [](const Write& write) { return write.written != nullptr; });
    const auto removal = std::find_if(writing_removals_.begin(), writing_removals_.end(),
                                      [](const Removal& each) { return each.clear_all || !each.what.keys.empty(); });
    const std::uint64_t asked = question == writing_values_.end() ? UINT64_MAX : question->number;
    const std::uint64_t removed = removal == writing_removals_.end() ? UINT64_MAX : removal->number;
    write_stretch(std::min(asked, removed));
    if (asked < removed) {
      answer(question, !std::exchange(lost_some_, false) && !state_.broken());
    } else if (removed < UINT64_MAX) {
      removal->clear_all ? clear_log(removal) : write_purge(removal);
    }
  }
}

void Writer::answer(Values question, bool written) {
  if (written && scrubber_.wipes_before(question->number)) {   // answered when the wipes are complete
    scrubber_.park(writing_values_, question);
    return;
  }
  const std::function<void(bool)> tell = std::move(question->written);
  writing_values_.erase(question);
  call_back(tell, written);
}

void Writer::answer_all(const std::list<Write>& questions) noexcept {
  for (const Write& question : questions) {
    try {
      question.written(false);
    } catch (...) {   // the remaining questions must be answered even so
    }
  }
}

// Writes the values and removals with numbers below `before`: removals first, synced once for all,
// then the values that were not removed since.
void Writer::write_stretch(std::uint64_t before) {
  const auto values = std::find_if(writing_values_.begin(), writing_values_.end(), [&](const Write& write) { return write.number >= before; });
  const auto removals = std::find_if(writing_removals_.begin(), writing_removals_.end(), [&](const Removal& each) { return each.number >= before; });
  {
    const MutexLock lock(state_.mutex);
    for (auto write = writing_values_.begin(); write != values; ++write) {
      write->forgotten |= state_.ledger.removed_since(write->value, write->number);
    }
  }
  if (removals != writing_removals_.begin()) write_removals(writing_removals_.begin(), removals);
  if (values != writing_values_.begin()) write_values(writing_values_.begin(), values);
}

// Drops stored entries that expired, so that their keys can be written again. Only the record tells
// the time of expiry.
void Writer::forget_expired(Values begin, Values end) {
  for (auto each = begin; each != end; ++each) {
    Place place;
    {
      const MutexLock lock(state_.mutex);
      const Index::Id id = state_.catalog.find(each->value.key);
      if (id == Index::kNone || !state_.catalog[id].expires) continue;
      place = state_.catalog[id].place;
    }
    if (reader_.read_head(each->value.key, {})) continue;
    const MutexLock lock(state_.mutex);
    state_.forget_at_locked(each->value.key, place);
  }
}

// RETURNS the values still to be stored, in order: not stored, not removed since, with their parent
// stored or earlier in the batch. Those whose parent is not become orphans.
std::vector<const Write*> Writer::wanted(Values begin, Values end, std::vector<const Write*>& orphans) {
  std::vector<const Write*> chosen;
  std::unordered_map<Key, bool> before;
  const MutexLock lock(state_.mutex);
  for (auto each = begin; each != end; ++each) {
    const Write& write = *each;
    const Value& value = write.value;
    const bool known = state_.catalog.find(value.key) != Index::kNone || before.contains(value.key);
    const bool hangs = !value.parent || state_.catalog.find(*value.parent) != Index::kNone || before.contains(*value.parent);
    if (known || write.forgotten || state_.ledger.removed_since(write.value, write.number)) continue;
    if (!hangs) {
      orphans.push_back(&write);
      continue;
    }
    before.emplace(value.key, true);
    chosen.push_back(&write);
  }
  return chosen;
}

void Writer::write_values(Values begin, Values end) {
  forget_expired(begin, end);
  std::vector<const Write*> orphans;
  orphans.reserve(static_cast<std::size_t>(std::distance(begin, end)));
  std::vector<const Write*> chosen = wanted(begin, end, orphans);
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
  const std::size_t indexed = state_.broken() ? 0 : log_.reserve_some_entries(classes);
  std::size_t published = 0;
  static_cast<void>(log_.append(std::span(headers).first(indexed), std::span(bytes).first(indexed), true, [&](std::size_t i, const Place& place) {
    const MutexLock lock(state_.mutex);
    ++published;
    const Published result = publish_locked(*chosen[i], place);
    if (result == Published::kOrphan) orphans.push_back(chosen[i]);
    return result == Published::kYes;
  }));
  bool index_is_full = false;
  {
    const MutexLock lock(state_.mutex);
    ++state_.tick;
    index_is_full = indexed < chosen.size() && !state_.health.broken();
    if (index_is_full) state_.counters.index_full += chosen.size() - indexed;
  }
  lost_some_ |= index_is_full;
  for (const Write* write : orphans) lose(*write);
  for (std::size_t i = published; i < (index_is_full ? indexed : chosen.size()); ++i) lose(*chosen[i]);
  done_with_values(begin, end);
}

// Of a value that is not written: nothing is lost if it is gone anyway, or waits again.
void Writer::lose(const Write& write) noexcept {
  const tier::Origin* const origin = write.value.origin;
  if (origin != nullptr && (origin->is_gone() || origin->take_back())) return;
  lost_some_ = true;
  const MutexLock lock(state_.mutex);
  ++state_.counters.dropped_puts;
}

// The value may have been removed, or its parent evicted, while it was written.
Writer::Published Writer::publish_locked(const Write& write, const Place& place) {
  const Value& value = write.value;
  if (state_.ledger.removed_since(write.value, write.number)) return Published::kRemoved;
  const Index::Id parent = value.parent ? state_.catalog.find(*value.parent) : Index::kNone;
  if (value.parent && parent == Index::kNone) return Published::kOrphan;
  const Index::Id id = state_.catalog.insert(value.key, place, {value.kind, value.owner, value.source}, parent);
  state_.catalog[id].expires = value.expires_unix_ms != 0;
  state_.catalog.touch(id, state_.tick);
  ++state_.counters.puts;
  state_.counters.accepted_bytes += value.bytes.size();
  return Published::kYes;
}

void Writer::done_with_values(Values begin, Values end) noexcept {
  std::list<Write> done;   // freed after the mutex is released
  const MutexLock lock(state_.mutex);
  for (auto write = begin; write != end; ++write) {
    state_.queue.done(*write);
  }
  state_.changed.notify_all();   // wait_for_queue()
  done.splice(done.begin(), writing_values_, begin, end);
}

}   // namespace tensorcache::disk
