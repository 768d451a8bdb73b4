#include "policy/worth_order.h"

#include <algorithm>
#include <bit>

namespace tensorcache {

namespace {

// Evicted values are remembered for so many times the capacity: 4 times loses the gain at small sizes.
constexpr std::uint64_t kRemembered = 16;
// After so many uses worth is learned anew, and values move on in age.
constexpr std::uint64_t kLearningUses = 16384, kAgingUses = 128;
// The end of a prompt is a class of its own: what comes there is seldom the same again.
constexpr std::size_t kLastOfChain = 48;
// So is what is said to be over; whether that is true is learned like everything else.
constexpr std::size_t kOver = 49;

// Of the request that used a value last: the share of its chain that was there, and the length of its answer.
std::size_t trait_of(const RequestTraits& request) {
  const std::size_t share = request.hits == 0 ? 0 : 2 * request.hits < request.values ? 1 : 10 * request.hits < 9 * request.values ? 2 : 3;
  const std::size_t answer = request.output_tokens < 64 ? 0 : request.output_tokens < 256 ? 1 : request.output_tokens < 512 ? 2 : 3;
  return share * 4 + answer;
}

}   // namespace

WorthOrder::WorthOrder() : lists_(kClasses * kAges) { rank(); }

void WorthOrder::resize(std::uint64_t capacity_bytes) {
  capacity_ = capacity_bytes;
  place_all();
  forget_old();
}

void WorthOrder::begin(const RequestTraits& request) {
  traits_ = trait_of(request);
  ++now_;
  values_per_request_ += 0.01 * (static_cast<double>(request.values) - values_per_request_);
  left_ = request.values - request.hits;
}

void WorthOrder::insert(PolicyNode& node) {
  node.uses = 0;
  last_ = left_ > 0 && --left_ == 0;
  if (const Past* past = take_past(node.hash)) {
    model_.reused(past->value_class, model_.age_of(now_ - past->used_at));
    node.uses = 1;
  }
  use(node);
}

void WorthOrder::touch(PolicyNode& node) {
  last_ = false;
  take(node);
  model_.reused(node.queue, model_.age_of(since(node)));
  ++node.uses;
  use(node);
}

PolicyNode* WorthOrder::pop() {
  keep_time();
  for (std::size_t word = 0; word < occupied_.size(); ++word) {
    if (occupied_[word] != 0) return give_up(lists_[order_[word * 64 + static_cast<std::size_t>(std::countr_zero(occupied_[word]))]].back());
  }
  return nullptr;
}

PolicyNode* WorthOrder::pop_oldest() {
  keep_time();
  for (std::size_t age = kAges; age-- > 0;) {
    if (PolicyNode* node = lists_[slot(kOver, age)].back()) return give_up(node);
  }
  PolicyNode* oldest = nullptr;
  for (std::size_t word = 0; word < occupied_.size(); ++word) {
    for (std::uint64_t bits = occupied_[word]; bits != 0; bits &= bits - 1) {
      PolicyNode* node = lists_[order_[word * 64 + static_cast<std::size_t>(std::countr_zero(bits))]].back();
      if (oldest == nullptr || since(*node) > since(*oldest)) oldest = node;
    }
  }
  return give_up(oldest);
}

PolicyNode* WorthOrder::give_up(PolicyNode* node) {
  if (node == nullptr) return nullptr;
  take(*node);
  remember(*node);
  forget_old();
  return node;
}

void WorthOrder::restore(PolicyNode& node) {
  static_cast<void>(take_past(node.hash));
  list(node).push_back(node);
  mark(node);
}

void WorthOrder::demote(PolicyNode& node) {
  take(node);
  node.queue = kOver;
  list(node).push_back(node);
  mark(node);
}

void WorthOrder::mark(const PolicyNode& node) {
  const std::size_t place = places_[slot(node.queue, node.age)];
  occupied_[place / 64] |= std::uint64_t{1} << place % 64;
}

void WorthOrder::take(PolicyNode& node) {
  NodeList& nodes = list(node);
  nodes.unlink(node);
  if (!nodes.empty()) return;
  const std::size_t place = places_[slot(node.queue, node.age)];
  occupied_[place / 64] &= ~(std::uint64_t{1} << place % 64);
}

void WorthOrder::use(PolicyNode& node) {
  ++uses_;
  node.queue = static_cast<std::uint8_t>(last_ && node.uses == 0 ? kLastOfChain : std::min<std::size_t>(node.uses, 2) * 16 + traits_);
  node.age = 0;
  node.used_at = static_cast<std::uint32_t>(now_);
  list(node).push_front(node);
  mark(node);
}

void WorthOrder::remember(const PolicyNode& node) noexcept {
  try {
    past_.push_back({node.hash, now_ - since(node), node.charge_bytes, node.queue, false});
    past_places_[node.hash] = past_first_ + past_.size() - 1;
  } catch (const std::bad_alloc&) {   // then nothing is learned from it
    if (!past_.empty() && past_.back().hash == node.hash) past_.pop_back();
    return;
  }
  past_bytes_ += node.charge_bytes;
}

// Takes it out; null if it is not remembered.
const WorthOrder::Past* WorthOrder::take_past(std::uint64_t hash) noexcept {
  const auto found = past_places_.find(hash);
  if (found == past_places_.end()) return nullptr;
  Past& past = past_[found->second - past_first_];
  past_places_.erase(found);
  past.back = true;
  return &past;
}

void WorthOrder::forget_old() noexcept {
  while (past_bytes_ > kRemembered * capacity_ && !past_.empty()) {
    const Past& past = past_.front();
    past_bytes_ -= past.bytes;
    if (!past.back) {
      model_.forgotten(past.value_class, model_.age_of(now_ - past.used_at));
      past_places_.erase(past.hash);
    }
    past_.pop_front();
    ++past_first_;
  }
}

void WorthOrder::keep_time() {
  if (uses_ - aged_uses_ >= kAgingUses) {
    aged_uses_ = uses_;
    place_all();
  }
  if (uses_ - learned_uses_ < std::min(kLearningUses, uses_ / 4)) return;
  learned_uses_ = uses_;
  ReuseModel::Counts waiting{};
  for (std::size_t i = 0; i < lists_.size(); ++i) waiting[i / kAges][i % kAges] = static_cast<double>(lists_[i].size());
  for (const Past& past : past_) {
    if (!past.back) waiting[past.value_class][model_.age_of(now_ - past.used_at)] += 1;
  }
  model_.set_values_per_request(values_per_request_);
  model_.learn(waiting);
  rank();
}

// Those that have grown too old for their list, into the one that fits.
void WorthOrder::place_all() {
  for (std::size_t place = 0; place < order_.size(); ++place) {
    if ((occupied_[place / 64] >> place % 64 & 1) == 0) continue;
    NodeList& nodes = lists_[order_[place]];
    const std::size_t age = order_[place] % kAges;
    while (PolicyNode* node = nodes.back()) {
      const std::size_t fits = model_.age_of(since(*node));
      if (fits <= age) break;
      take(*node);
      node->age = static_cast<std::uint8_t>(fits);
      list(*node).push_front(*node);
      mark(*node);
    }
  }
}

void WorthOrder::rank() {
  order_.resize(lists_.size());
  places_.resize(lists_.size());
  for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = i;
  std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
    const double left = model_.worth(a / kAges, a % kAges), right = model_.worth(b / kAges, b % kAges);
    return left != right ? left < right : a % kAges > b % kAges;
  });
  occupied_.assign(lists_.size() / 64, 0);
  for (std::size_t i = 0; i < order_.size(); ++i) {
    places_[order_[i]] = i;
    if (!lists_[order_[i]].empty()) occupied_[i / 64] |= std::uint64_t{1} << i % 64;
  }
}

}   // namespace tensorcache
