#include "store/disk/removal_ledger.h"

namespace tensorcache::disk {
namespace {

// Forgets a name, unless the same was removed again since.
template <class Pending, class Name>
void forget(Pending& pending, const Name& name, std::uint64_t number) {
  const auto found = pending.find(name);
  if (found != pending.end() && found->second == number) pending.erase(found);
}

}   // namespace

bool RemovalLedger::removed_since(const Value& value, std::uint64_t number) const {
  if (cleared_all_ > number) return true;
  const auto key = keys_.find(value.key);
  if (key != keys_.end() && key->second > number) return true;
  const auto owner = owners_.find(value.owner);
  if (owner != owners_.end() && owner->second > number) return true;
  return std::any_of(selections_.begin(), selections_.end(), [&](const Clearing& each) {
    return each.number > number && each.what.matches(value.owner, value.source, value.created_unix_ms, value.key);
  });
}

bool RemovalLedger::names_since(const Key& key, std::uint64_t number) const {
  if (clear_waits_ > number) return true;
  const auto found = keys_.find(key);
  return found != keys_.end() && found->second > number;
}

bool RemovalLedger::names(const RecordHeader& header) const { return clear_waits_ > 0 || keys_.contains(header.key) || is_cleared(header); }

bool RemovalLedger::is_cleared(const RecordHeader& header) const {
  if (cleared_all_ == UINT64_MAX || owners_.contains(header.owner)) return true;
  return std::any_of(selections_.begin(), selections_.end(), [&](const Clearing& each) { return each.what.matches(header); });
}

RemovalLedger::Numbers RemovalLedger::prepare(std::span<const Key> keys) {
  Numbers numbers;
  for (const Key& key : keys) numbers[key] = next_number_;
  keys_.reserve(keys_.size() + numbers.size());
  return numbers;
}

void RemovalLedger::name(Numbers& prepared) noexcept {
  for (auto& [key, number] : prepared) {
    number = next_number_;
    if (const auto known = keys_.find(key); known != keys_.end()) known->second = number;
  }
  keys_.merge(prepared);
}

void RemovalLedger::enqueue(Removals& removal) noexcept {
  removal.front().number = next_number_++;
  places_ += removal.front().erased.size();
  waiting_.splice(waiting_.end(), removal);
}

void RemovalLedger::begin_clear(const Selected& what, std::list<Clearing>& node) {
  if (what.is_an_owner()) {
    owners_[*what.owner] = UINT64_MAX;
  } else {
    node.front().number = UINT64_MAX;
    selections_.splice(selections_.end(), node);
  }
}

void RemovalLedger::end_clear(const Selected& what) noexcept {
  // The entry is missing if everything was cleared meanwhile.
  if (what.is_an_owner()) {
    if (const auto mine = owners_.find(*what.owner); mine != owners_.end()) mine->second = next_number_;
  } else {
    for (Clearing& each : selections_) each.number = std::min(each.number, next_number_);   // the running clear is the only one with UINT64_MAX
  }
}

void RemovalLedger::clear_all(Removals& removal, Removals& dropped) noexcept {
  Removal& front = removal.front();
  front.type = RecordType::kClearOwner;
  front.clear_all = true;
  front.purged.clear();
  dropped.splice(dropped.end(), waiting_);
  places_ = taken_places_;
  keys_.clear();
  owners_.clear();
  selections_.clear();
  clear_waits_ = next_number_;
  if (cleared_all_ != UINT64_MAX) cleared_all_ = next_number_;
  enqueue(removal);
}

void RemovalLedger::take(Removals& to) noexcept {
  ++taken_;
  taken_places_ += waiting_.front().erased.size();
  to.splice(to.end(), waiting_, waiting_.begin());
}

void RemovalLedger::put_back(Removals& from, Removals::iterator begin, Removals::iterator end) noexcept {
  if (begin == end) return;
  for (auto removal = begin; removal != end; ++removal) forget_taken(*removal);
  auto before = waiting_.begin();
  while (before != waiting_.end() && before->number < begin->number) ++before;
  waiting_.splice(before, from, begin, end);
}

void RemovalLedger::settle(Removals& from, Removals::iterator begin, Removals::iterator end, Removals& done) noexcept {
  for (auto removal = begin; removal != end; ++removal) {
    forget_taken(*removal);
    places_ -= std::min<std::uint64_t>(places_, removal->erased.size());
    forget_names(*removal);
  }
  done.splice(done.end(), from, begin, end);
}

void RemovalLedger::forget_taken(const Removal& removal) noexcept {
  --taken_;
  taken_places_ -= removal.erased.size();
}

void RemovalLedger::forget_names(const Removal& removal) noexcept {
  if (removal.clear_all) {
    if (clear_waits_ == removal.number) clear_waits_ = 0;
    return;
  }
  if (removal.type == RecordType::kClearOwner) {
    if (removal.what.is_an_owner()) forget(owners_, *removal.what.owner, removal.number);
    selections_.remove_if([&](const Clearing& each) { return each.number == removal.number; });
  } else if (removal.what.keys.empty()) {
    forget(keys_, removal.key, removal.number);
  }
  for (const Key& key : removal.purged) forget(keys_, key, removal.number);
}

}   // namespace tensorcache::disk
