#include "policy/worth_order.h"

#include <bit>

namespace tensorcache {

void WorthOrder::put_last(PolicyNode& node, std::size_t age) {
  node.age = static_cast<std::uint8_t>(age);
  List& nodes = list(node);
  node.prev = nullptr;
  node.next = nodes.last;
  if (nodes.last != nullptr) {
    nodes.last->prev = &node;
  } else {
    nodes.first = &node;
    mark(node.queue, age);
  }
  nodes.last = &node;
}

void WorthOrder::put_first(PolicyNode& node) {
  node.age = static_cast<std::uint8_t>(model_.age_of(now_ - node.used_at));
  List& nodes = list(node);
  node.next = nullptr;
  node.prev = nodes.first;
  if (nodes.first != nullptr) {
    nodes.first->next = &node;
  } else {
    nodes.last = &node;
    mark(node.queue, node.age);
  }
  nodes.first = &node;
}

void WorthOrder::take(PolicyNode& node) {
  List& nodes = list(node);
  (node.prev != nullptr ? node.prev->next : nodes.last) = node.next;
  (node.next != nullptr ? node.next->prev : nodes.first) = node.prev;
  if (nodes.first != nullptr) return;
  classes_[node.age] &= ~(std::uint64_t{1} << node.queue);
  if (classes_[node.age] == 0) ages_ &= ~(std::uint64_t{1} << node.age);
  if (node.queue == ReuseModel::kOver) ages_over_ &= ~(std::uint64_t{1} << node.age);
  const std::size_t place = model_.place_of(node.queue, node.age);
  places_[place / 64] &= ~(std::uint64_t{1} << place % 64);
}

void WorthOrder::mark(std::size_t c, std::size_t age) {
  classes_[age] |= std::uint64_t{1} << c;
  ages_ |= std::uint64_t{1} << age;
  if (c == ReuseModel::kOver) ages_over_ |= std::uint64_t{1} << age;
  const std::size_t place = model_.place_of(c, age);
  places_[place / 64] |= std::uint64_t{1} << place % 64;
}

PolicyNode* WorthOrder::least_worth() {
  for (std::size_t word = 0; word < places_.size(); ++word) {
    if (places_[word] != 0) return lists_[model_.pair_at(word * 64 + static_cast<std::size_t>(std::countr_zero(places_[word])))].first;
  }
  return nullptr;
}

PolicyNode* WorthOrder::oldest() {
  const auto highest = [](std::uint64_t bits) { return static_cast<std::size_t>(std::bit_width(bits)) - 1; };
  if (ages_over_ != 0) return lists_[slot(ReuseModel::kOver, highest(ages_over_))].first;
  if (ages_ == 0) return nullptr;
  const std::size_t age = highest(ages_);
  PolicyNode* found = nullptr;
  for (std::uint64_t bits = classes_[age]; bits != 0; bits &= bits - 1) {
    PolicyNode* const node = lists_[slot(static_cast<std::size_t>(std::countr_zero(bits)), age)].first;
    if (found == nullptr || node->used_at < found->used_at) found = node;
  }
  return found;
}

void WorthOrder::keep_time(std::uint32_t now) {
  now_ = now;
  for (std::uint64_t ages = ages_; ages != 0; ages &= ages - 1) {
    const auto age = static_cast<std::size_t>(std::countr_zero(ages));
    if (now - looked_at_[age] < (model_.width(age) + 3) / 4) continue;
    looked_at_[age] = now;
    for (std::uint64_t bits = classes_[age]; bits != 0; bits &= bits - 1) {
      List& nodes = lists_[slot(static_cast<std::size_t>(std::countr_zero(bits)), age)];
      while (PolicyNode* node = nodes.first) {
        const std::size_t fits = model_.age_of(now - node->used_at);
        if (fits <= age) break;
        take(*node);
        put_last(*node, fits);
      }
    }
  }
}

void WorthOrder::ranked() {
  places_.fill(0);
  for (std::size_t age = 0; age < kAges; ++age) {
    for (std::uint64_t bits = classes_[age]; bits != 0; bits &= bits - 1) mark(static_cast<std::size_t>(std::countr_zero(bits)), age);
  }
}

}   // namespace tensorcache
