#include "store/policy/expected_value_order.h"

#include <algorithm>
#include <bit>

namespace tensorcache::policy {

namespace {

// Ages are looked at only after so many values were put in; each request counts as some more.
constexpr std::uint32_t kPutsToLook = 256, kPutsOfRequest = 4;

void insert_between(PolicyNode& node, PolicyNode& prev, PolicyNode& next) {
  node.prev = &prev;
  node.next = &next;
  prev.next = next.prev = &node;
}

}   // namespace

void ExpectedValueOrder::put_last(PolicyNode& node) noexcept {
  Batch& batch = batch_of(node);
  insert_between(node, *batch.prev, batch);
}

void ExpectedValueOrder::put_first(PolicyNode& node) noexcept {
  Batch& batch = batch_of(node);
  insert_between(node, batch, *batch.next);
}

void ExpectedValueOrder::take(PolicyNode& node) noexcept {
  PolicyNode &prev = *node.prev, &next = *node.next;
  prev.next = &next;
  next.prev = &prev;
  if (&prev == &next) release(static_cast<Batch&>(prev));
}

ExpectedValueOrder::Batch& ExpectedValueOrder::batch_of(const PolicyNode& node) noexcept {
  ++puts_;
  Batch* batch = newest_[value_class(node)];
  if (batch != nullptr && used_by(*batch) == used_by(node)) return *batch;
  batch = pool_.take();
  if (batch == nullptr) {
    batch = &spare_;
    if (batch->next != nullptr) return *batch;
  }
  batch->prev = batch->next = batch;
  value_class(*batch) = value_class(node);
  used_by(*batch) = used_by(node);
  const std::size_t age = model_.age_of(now_ - used_by(node));
  batch_age(*batch) = static_cast<std::uint8_t>(age);
  link(*batch, age == 0);
  newest_[value_class(node)] = batch;
  return *batch;
}

void ExpectedValueOrder::release(Batch& batch) noexcept {
  unlink(batch);
  if (newest_[value_class(batch)] == &batch) newest_[value_class(batch)] = nullptr;
  if (&batch == &spare_) {
    spare_ = Batch();
  } else {
    pool_.give_back(&batch);
  }
}

void ExpectedValueOrder::link(Batch& batch, bool is_last) noexcept {
  List& batches = list(batch);
  if (batches.first == nullptr) {
    batch.sooner = batch.later = nullptr;
    batches.first = batches.last = &batch;
    mark(value_class(batch), batch_age(batch));
  } else if (is_last) {
    batch.sooner = batches.last;
    batch.later = nullptr;
    batches.last = batches.last->later = &batch;
  } else {
    batch.sooner = nullptr;
    batch.later = batches.first;
    batches.first = batches.first->sooner = &batch;
  }
}

void ExpectedValueOrder::unlink(Batch& batch) noexcept {
  List& batches = list(batch);
  (batch.sooner != nullptr ? batch.sooner->later : batches.first) = batch.later;
  (batch.later != nullptr ? batch.later->sooner : batches.last) = batch.sooner;
  if (batches.first != nullptr) return;
  auto& classes = classes_[batch_age(batch)];
  classes[value_class(batch) / 64] &= ~(std::uint64_t{1} << value_class(batch) % 64);
  if (std::all_of(classes.begin(), classes.end(), [](std::uint64_t word) { return word == 0; })) ages_ &= ~(std::uint64_t{1} << batch_age(batch));
  if (value_class(batch) == ReuseModel::kOver) ages_over_ &= ~(std::uint64_t{1} << batch_age(batch));
  const std::size_t place = model_.place_of(value_class(batch), batch_age(batch));
  places_[place / 64] &= ~(std::uint64_t{1} << place % 64);
}

void ExpectedValueOrder::mark(std::size_t c, std::size_t age) {
  classes_[age][c / 64] |= std::uint64_t{1} << c % 64;
  ages_ |= std::uint64_t{1} << age;
  if (c == ReuseModel::kOver) ages_over_ |= std::uint64_t{1} << age;
  const std::size_t place = model_.place_of(c, age);
  places_[place / 64] |= std::uint64_t{1} << place % 64;
  first_place_ = std::min(first_place_, place / 64);
}

// That there are any of at this age.
template <class Do>
void ExpectedValueOrder::for_classes(std::size_t age, const Do& with) const {
  for (std::size_t word = 0; word < kWords; ++word) {
    for (std::uint64_t bits = classes_[age][word]; bits != 0; bits &= bits - 1) with(word * 64 + static_cast<std::size_t>(std::countr_zero(bits)));
  }
}

std::size_t ExpectedValueOrder::first_word() {
  while (first_place_ < places_.size() && places_[first_place_] == 0) ++first_place_;
  return first_place_;
}

PolicyNode* ExpectedValueOrder::least_worth() {
  const std::size_t word = first_word();
  if (word == places_.size()) return nullptr;
  return lists_[model_.pair_at(word * 64 + static_cast<std::size_t>(std::countr_zero(places_[word])))].first->next;
}

bool ExpectedValueOrder::is_worth_least(std::uint8_t of_class) {
  const std::size_t word = first_word();
  if (word == places_.size()) return false;
  const std::size_t pair = model_.pair_at(word * 64 + static_cast<std::size_t>(std::countr_zero(places_[word])));
  return pair / kAges != ReuseModel::kPresent && model_.worth(of_class, 0) < model_.worth(pair / kAges, pair % kAges);
}

PolicyNode* ExpectedValueOrder::oldest() {
  const auto highest = [](std::uint64_t bits) { return static_cast<std::size_t>(std::bit_width(bits)) - 1; };
  if (ages_over_ != 0) return lists_[slot(ReuseModel::kOver, highest(ages_over_))].first->next;
  if (ages_ == 0) return nullptr;
  const std::size_t age = highest(ages_);
  const Batch* found = nullptr;
  for_classes(age, [&](std::size_t c) {
    const Batch* const batch = lists_[slot(c, age)].first;
    if (found == nullptr || used_by(*batch) < used_by(*found)) found = batch;
  });
  return found->next;
}

PolicyNode* ExpectedValueOrder::present() {
  const Batch* const batch = lists_[slot(ReuseModel::kPresent, 0)].first;
  return batch != nullptr ? batch->next : nullptr;
}

void ExpectedValueOrder::end_present_spare(std::uint8_t to) noexcept {
  if (spare_.next == nullptr || value_class(spare_) != ReuseModel::kPresent) return;
  unlink(spare_);
  if (newest_[value_class(spare_)] == &spare_) newest_[value_class(spare_)] = nullptr;
  value_class(spare_) = to;
  link(spare_, false);
}

void ExpectedValueOrder::advance_to(std::uint32_t now) {
  now_ = now;
  puts_ += kPutsOfRequest;
  if (puts_ < kPutsToLook) return;
  puts_ = 0;
  for (std::uint64_t ages = ages_; ages != 0; ages &= ages - 1) {
    const auto age = static_cast<std::size_t>(std::countr_zero(ages));
    if (age + 1 == kAges || now - looked_at_[age] < (model_.width(age) + 1) / 2) continue;
    looked_at_[age] = now;
    for_classes(age, [&](std::size_t c) {
      const List& batches = lists_[slot(c, age)];
      while (Batch* batch = batches.first) {
        const std::size_t fits = model_.age_of(now - used_by(*batch));
        if (fits <= age) break;
        unlink(*batch);
        batch_age(*batch) = static_cast<std::uint8_t>(fits);
        link(*batch, true);
      }
    });
  }
}

void ExpectedValueOrder::on_ranking_changed() {
  places_.fill(0);
  first_place_ = 0;
  for (std::size_t age = 0; age < kAges; ++age) {
    for_classes(age, [&](std::size_t c) { mark(c, age); });
  }
}

}   // namespace tensorcache::policy
