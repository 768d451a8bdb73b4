#include "store/policy/use_history.h"

#include <algorithm>
#include <cstddef>
#include <new>

namespace tensorcache::policy {

namespace {

// Values are remembered for so many times the capacity beyond it: 4 times loses the gain at small
// sizes.
constexpr double kRemembered = 16;
// So many that must stay are passed over in search of one to forget; the next use goes on from
// there.
constexpr int kMaxPassedOver = 1024;
// So many are looked at to tell how many wait to be used again.
constexpr std::size_t kSample = 8192;

// What goes next time is read by then: it was used long ago, and so is far from the processor.
void read_ahead(const void* node) {
  if (node == nullptr) return;
  __builtin_prefetch(node);
  __builtin_prefetch(static_cast<const std::byte*>(node) + 64);
}

}   // namespace

void History::resize(double capacity_bytes) {
  capacity_ = capacity_bytes;
  trim_lru();
  static_cast<void>(make_shadow_room(0));
  forget_old();
}

void History::begin(std::uint32_t now) {
  now_ = now;
  order_.advance_to(now);
}

void History::use_run(std::span<const Use> run, const ReuseTraits& traits) {
  if (present_.size() + run.size() > present_.capacity()) {
    try {
      present_.reserve(2 * (present_.size() + run.size()));
    } catch (const std::bad_alloc&) {   // nothing is learned from it
      return;
    }
  }
  const std::size_t first = present_.size();
  for (const Use& value : run) present_.push_back(known_.find(value.hash));
  const std::span<Known*> values(present_.data() + first, run.size());
  Known* above = nullptr;
  for (std::size_t i = run.size(); i-- > 0;) {
    if (values[i] == nullptr) values[i] = known_.find(run[i].hash);   // it may be in the run twice
    if (values[i] == nullptr) values[i] = create(run[i], above);
    if (values[i] != nullptr) above = values[i];
  }
  std::erase(present_, nullptr);
  for (std::size_t i = first; i < present_.size(); ++i) {
    Known& value = *present_[i];
    note_use(value);
    if (value.in_shadow) touch_shadow(value);
    enter_lru(value, nullptr);
  }
  trim_lru();
  for (std::size_t i = present_.size(); i-- > first;) {
    if (!present_[i]->in_shadow) enter_shadow(*present_[i], traits);
  }
  run_ = present_.size();
  forget_old();
}

Before History::before(std::uint64_t hash) const {
  const Known* value = known_.find(hash);
  return value != nullptr && value->is_used ? Before{use_count(*value) + 1, used_by(*value)} : Before{};
}

Before History::use(const Use& use, const ReuseTraits& traits) {
  Known* value = known_.find(use.hash);
  Known* above = value != nullptr ? value->above : use.parent_hash != 0 ? known_.find(use.parent_hash) : nullptr;
  if (value == nullptr) value = create(use, above);
  if (value == nullptr) return {};
  const Before before{value->is_used ? use_count(*value) + 1 : 0, used_by(*value)};
  note_use(*value);
  enter_lru(*value, above);
  trim_lru();
  if (value->in_shadow) {
    touch_shadow(*value);
  } else {
    enter_shadow(*value, traits);
  }
  try {
    present_.push_back(value);
  } catch (const std::bad_alloc&) {   // it gets no class until its next use
  }
  forget_old();
  return before;
}

// Its uses are counted from 0.
void History::note_use(Known& value) {
  if (value.is_used) {
    model_.reused(value_class(value), model_.age_of(now_ - used_by(value)));
    use_count(value) = std::min(use_count(value) + 1, 255u);
    lead_ += (value.in_shadow ? value.bytes() : 0) - (value.in_lru ? value.bytes() : 0);
  }
  if (value.in_shadow && !value.parked) order_.take(value);
  value.is_used = true;
  value_class(value) = ReuseModel::kPresent;
  used_by(value) = now_;
}

void History::end(ReuseTraits traits) {
  const auto settle = [&](Known& value) {
    if (value_class(value) != ReuseModel::kPresent) return;
    traits.uses = use_count(value);
    const bool is_listed = value.in_shadow && !value.parked;
    if (is_listed) order_.take(value);
    value_class(value) = ReuseModel::class_of(traits);
    if (is_listed) order_.put_last(value);
  };
  for (std::size_t i = present_.size(); i-- > run_;) {
    settle(*present_[i]);
    traits.last = false;
  }
  traits.last = false;
  for (std::size_t i = 0; i < run_; ++i) settle(*present_[i]);
  present_.clear();
  run_ = 0;
}

void History::demote(std::uint64_t hash) {
  Known* value = known_.find(hash);
  if (value == nullptr) return;
  const bool is_listed = value->in_shadow && !value->parked;
  if (is_listed) order_.take(*value);
  value_class(*value) = ReuseModel::kOver;
  if (is_listed) order_.put_first(*value);
  if (!value->in_lru || value == lru_last_) return;
  unlink(*value);
  link_behind(lru_last_, *value);
  lru_last_ = value;
}

void History::learn(double values_per_request) noexcept {
  try {
    ReuseModel::Counts waiting(ReuseModel::kClasses);
    const std::size_t stride = pool_.size() / kSample + 1;
    looked_at_ = (looked_at_ + 1) % stride;
    for (std::size_t i = looked_at_; i < pool_.size(); i += stride) {
      const Known& value = pool_[i];
      if (value.is_used) waiting[value_class(value)][model_.age_of(now_ - used_by(value))] += static_cast<double>(stride);
    }
    model_.learn(waiting, values_per_request);
  } catch (const std::bad_alloc&) {   // another time
  }
  order_.on_ranking_changed();
}

History::Known* History::create(const Use& use, Known* above) noexcept {
  Known* value = pool_.take();
  if (value == nullptr) return nullptr;
  if (!known_.insert(use.hash, value)) {
    pool_.give_back(value);
    return nullptr;
  }
  value->hash = use.hash;
  value->charge_bytes = use.charge_bytes;
  value->above = above;
  if (above != nullptr) ++above->children;
  known_bytes_ += value->bytes();
  return value;
}

void History::forget_old() noexcept {
  int passed_over = 0;
  while (known_bytes_ > (1 + kRemembered) * capacity_ && oldest_ != nullptr && oldest_ != lru_last_ && used_by(*oldest_) != now_) {
    Known& value = *oldest_;
    unlink(value);
    if (value.in_shadow || value.children > 0) {   // it stays as long as it is there
      link_behind(lru_last_, value);
      if (++passed_over == kMaxPassedOver) return;   // perhaps all must stay
      continue;
    }
    passed_over = 0;
    if (value.is_used) model_.forgotten(value_class(value), model_.age_of(now_ - used_by(value)));
    known_bytes_ -= value.bytes();
    known_.erase(value.hash);
    if (value.above != nullptr) --value.above->children;
    pool_.give_back(&value);
    if (oldest_ == nullptr) return;
    known_.prefetch(oldest_->hash);
    read_ahead(oldest_->newer);
  }
}

// Null: in front of all.
void History::link_behind(Known* newer, Known& value) {
  value.newer = newer;
  value.older = newer != nullptr ? newer->older : newest_;
  (value.newer != nullptr ? value.newer->older : newest_) = &value;
  (value.older != nullptr ? value.older->newer : oldest_) = &value;
}

void History::unlink(Known& value) {
  if (&value == lru_last_) lru_last_ = value.newer;
  (value.newer != nullptr ? value.newer->older : newest_) = value.older;
  (value.older != nullptr ? value.older->newer : oldest_) = value.newer;
}

void History::enter_lru(Known& value, Known* newer) {
  if (value.is_linked) unlink(value);
  value.is_linked = true;
  link_behind(newer, value);
  if (newer != nullptr && !newer->in_lru) {
    if (value.in_lru) lru_bytes_ -= value.bytes();
    value.in_lru = false;
    return;
  }
  if (newer == lru_last_) lru_last_ = &value;
  if (!value.in_lru) lru_bytes_ += value.bytes();
  value.in_lru = true;
}

void History::trim_lru() {
  while (lru_bytes_ > capacity_ && lru_last_ != nullptr) {
    lru_last_->in_lru = false;
    lru_bytes_ -= lru_last_->bytes();
    lru_last_ = lru_last_->newer;
    read_ahead(lru_last_);
  }
}

void History::touch_shadow(Known& value) {
  value.parked = false;
  order_.put_last(value);
}

void History::enter_shadow(Known& value, ReuseTraits traits) {
  Known* const above = value.above;
  traits.uses = use_count(value);
  if (selects_ && shadow_bytes_ + value.bytes() > capacity_ && order_.is_worth_least(ReuseModel::class_of(traits))) return;
  if (above != nullptr) {
    if (!above->in_shadow) return;
    ++above->holders;
  }
  if (value.bytes() > capacity_ || !make_shadow_room(value.bytes())) return let_go(above);
  value.in_shadow = true;
  value.parked = false;
  shadow_bytes_ += value.bytes();
  order_.put_first(value);
}

bool History::make_shadow_room(double bytes) {
  while (shadow_bytes_ + bytes > capacity_) {
    Known* const value = static_cast<Known*>(order_.least_worth());
    if (value == nullptr) return false;
    read_ahead(value->next);
    order_.take(*value);
    if (value->holders > 0) {
      value->parked = true;
      continue;
    }
    value->in_shadow = false;
    shadow_bytes_ -= value->bytes();
    let_go(value->above);
  }
  return true;
}

void History::let_go(Known* value) {
  if (value != nullptr && --value->holders == 0 && std::exchange(value->parked, false)) order_.put_first(*value);
}

}   // namespace tensorcache::policy
