// Our own, for blocks of prefixes: blocks are classed by what their request was like, each class's habit of coming back is learned, and
// what is least likely to come back for its place goes first. A guard compares with LRU and follows it where that does better.
#include <algorithm>
#include <array>
#include <bit>
#include <deque>
#include <unordered_map>
#include <vector>

#include "policy/node_list.h"
#include "policy/policies.h"
#include "policy/reuse_model.h"
#include "policy/shadow_lru.h"

namespace tensorcache {

namespace {

constexpr std::size_t kClasses = ReuseModel::kClasses, kAges = ReuseModel::kAges;
// Evicted blocks are remembered for so many times the capacity: 4 times loses the gain at small sizes.
constexpr std::uint64_t kRemembered = 16;
// How often worth is learned anew and blocks move on in age, in shares of the capacity that pass.
constexpr std::uint64_t kLearnings = 2, kAgings = 32;
// The guard: LRU is followed where it would have had so many more of all accesses.
constexpr double kAllowedLoss = 0.0005;

// What was evicted, in its order; and again what of it comes back.
class Memory {
 public:
  struct Past {
    std::uint64_t hash, used_at, bytes;
    std::uint8_t kind;   // its class
    bool gone;
  };
  void remember(const PolicyNode& node) noexcept {
    try {
      order_.push_back({node.hash, node.used_at, node.charge_bytes, node.queue, false});
      places_[node.hash] = first_ + order_.size() - 1;
    } catch (const std::bad_alloc&) {
      return;
    }
    bytes_ += node.charge_bytes;
  }
  // Takes it out; null if it is not remembered.
  const Past* take(std::uint64_t hash) noexcept {
    const auto found = places_.find(hash);
    if (found == places_.end()) return nullptr;
    Past& past = order_[found->second - first_];
    places_.erase(found);
    past.gone = true;
    return &past;
  }
  void keep_at_most(std::uint64_t bytes, const auto& forgotten) noexcept {
    while (bytes_ > bytes && !order_.empty()) {
      const Past& past = order_.front();
      bytes_ -= past.bytes;
      if (!past.gone) {
        forgotten(past);
        places_.erase(past.hash);
      }
      order_.pop_front();
      ++first_;
    }
  }
  [[nodiscard]] const std::deque<Past>& all() const { return order_; }

 private:
  std::deque<Past> order_;
  std::unordered_map<std::uint64_t, std::uint64_t> places_;
  std::uint64_t first_ = 0, bytes_ = 0;
};

class Adaptive final : public Policy {
 public:
  Adaptive() : lists_(kClasses * kAges) { rank(); }

  void resize(std::uint64_t capacity_bytes) override {
    capacity_ = capacity_bytes;
    model_.resize(capacity_bytes);
    lru_.resize(capacity_bytes);
    rank();
    place_all();
  }
  void begin(const RequestTraits& request) override {
    compare();
    const double share = request.values == 0 ? 0 : static_cast<double>(request.hits) / static_cast<double>(request.values);
    const std::size_t hits = request.hits == 0 ? 0 : share < 0.5 ? 1 : share < 0.9 ? 2 : 3;
    const std::size_t output = request.output_tokens < 64 ? 0 : request.output_tokens < 256 ? 1 : request.output_tokens < 512 ? 2 : 3;
    traits_ = hits * 4 + output;
  }
  void insert(PolicyNode& node) override {
    now_ += node.charge_bytes;
    inserted_.push_back({node.hash, node.charge_bytes});
    node.uses = 0;
    if (const Memory::Past* past = memory_.take(node.hash)) {
      model_.reused(past->kind, model_.age_of(now_ - past->used_at));
      node.uses = 1;
    }
    use(node);
  }
  void touch(PolicyNode& node) override {
    now_ += node.charge_bytes;
    touched_.push_back({node.hash, node.charge_bytes});
    take(node);
    model_.reused(node.queue, model_.age_of(now_ - node.used_at));
    ++node.uses;
    use(node);
  }
  void erase(PolicyNode& node) override { take(node); }
  PolicyNode* pop() override {
    keep_time();
    PolicyNode* node = behind_ ? oldest() : least_worth();
    if (node == nullptr) return nullptr;
    take(*node);
    memory_.remember(*node);
    memory_.keep_at_most(kRemembered * capacity_, [&](const Memory::Past& past) { model_.forgotten(past.kind, model_.age_of(now_ - past.used_at)); });
    return node;
  }
  void restore(PolicyNode& node) override {
    memory_.take(node.hash);
    list(node).push_back(node);
    occupied(node);
  }

 private:
  [[nodiscard]] static std::size_t slot(std::size_t c, std::size_t age) { return c * kAges + age; }
  NodeList& list(const PolicyNode& node) { return lists_[slot(node.queue, node.age)]; }
  void occupied(const PolicyNode& node) {
    const std::size_t place = places_[slot(node.queue, node.age)];
    bits_[place / 64] |= std::uint64_t{1} << place % 64;
  }
  void take(PolicyNode& node) {
    NodeList& nodes = list(node);
    nodes.unlink(node);
    if (!nodes.empty()) return;
    const std::size_t place = places_[slot(node.queue, node.age)];
    bits_[place / 64] &= ~(std::uint64_t{1} << place % 64);
  }
  void use(PolicyNode& node) {
    const std::size_t uses = std::min<std::uint32_t>(node.uses, 3);
    node.queue = static_cast<std::uint8_t>(uses * 16 + traits_);
    node.age = 0;
    node.used_at = now_;
    list(node).push_front(node);
    occupied(node);
  }

  // What LRU would have made of the last request: its chain is what was touched, from its first value on, then what was inserted.
  void compare() {
    std::uint64_t hit = 0, lru_hit = 0;
    bool leading = true;
    const auto look = [&](const Access& access) {
      leading = leading && lru_.contains(access.hash);
      lru_hit += leading ? access.bytes : 0;
      accesses_ += static_cast<double>(access.bytes);
    };
    std::for_each(touched_.rbegin(), touched_.rend(), look);
    for (const Access& access : touched_) hit += access.bytes;
    std::for_each(inserted_.begin(), inserted_.end(), look);
    lost_ += static_cast<double>(lru_hit) - static_cast<double>(hit);
    // From the last to the first, as the store touches.
    const auto use = [&](const Access& access) { lru_.use(access.hash, access.bytes); };
    std::for_each(inserted_.rbegin(), inserted_.rend(), use);
    std::for_each(touched_.begin(), touched_.end(), use);
    inserted_.clear();
    touched_.clear();
  }

  PolicyNode* least_worth() {
    for (std::size_t word = 0; word < bits_.size(); ++word) {
      if (bits_[word] != 0) return lists_[order_[word * 64 + static_cast<std::size_t>(std::countr_zero(bits_[word]))]].back();
    }
    return nullptr;
  }
  PolicyNode* oldest() {
    for (std::size_t age = kAges; age-- > 0;) {
      PolicyNode* first = nullptr;
      for (std::size_t c = 0; c < kClasses; ++c) {
        PolicyNode* node = lists_[slot(c, age)].back();
        if (node != nullptr && (first == nullptr || node->used_at < first->used_at)) first = node;
      }
      if (first != nullptr) return first;
    }
    return nullptr;
  }

  void keep_time() {
    if (now_ - aged_at_ < capacity_ / kAgings) return;
    aged_at_ = now_;
    behind_ = lost_ > kAllowedLoss * accesses_;
    place_all();
    if (now_ - learned_at_ < capacity_ / kLearnings) return;
    learned_at_ = now_;
    ReuseModel::Counts waiting{};
    for (std::size_t c = 0; c < kClasses; ++c) {
      for (std::size_t age = 0; age < kAges; ++age) waiting[c][age] = static_cast<double>(lists_[slot(c, age)].size());
    }
    for (const Memory::Past& past : memory_.all()) {
      if (!past.gone) waiting[past.kind][model_.age_of(now_ - past.used_at)] += 1;
    }
    model_.learn(waiting);
    rank();
  }
  // Those that have grown too old for their list, into the one that fits.
  void place_all() {
    for (std::size_t c = 0; c < kClasses; ++c) {
      for (std::size_t age = kAges; age-- > 0;) {
        NodeList& nodes = lists_[slot(c, age)];
        while (PolicyNode* node = nodes.back()) {
          const std::size_t fits = model_.age_of(now_ - node->used_at);
          if (fits <= age) break;
          take(*node);
          node->age = static_cast<std::uint8_t>(fits);
          list(*node).push_front(*node);
          occupied(*node);
        }
      }
    }
  }
  // All lists by worth, the least first; of equals the older.
  void rank() {
    order_.resize(lists_.size());
    places_.resize(lists_.size());
    for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = i;
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      const double left = model_.worth(a / kAges, a % kAges), right = model_.worth(b / kAges, b % kAges);
      return left != right ? left < right : a % kAges > b % kAges;
    });
    bits_.assign(lists_.size() / 64, 0);
    for (std::size_t i = 0; i < order_.size(); ++i) {
      places_[order_[i]] = i;
      if (!lists_[order_[i]].empty()) bits_[i / 64] |= std::uint64_t{1} << i % 64;
    }
  }

  struct Access {
    std::uint64_t hash, bytes;
  };

  std::vector<NodeList> lists_;   // by class and age
  std::vector<std::size_t> order_, places_;
  std::vector<std::uint64_t> bits_;   // by place: which lists hold something
  ReuseModel model_;
  Memory memory_;
  ShadowLru lru_;
  std::uint64_t capacity_ = 0, now_ = 0, aged_at_ = 0, learned_at_ = 0;
  std::size_t traits_ = 0;
  std::vector<Access> touched_, inserted_;   // of the present request
  double accesses_ = 0, lost_ = 0;           // bytes; lost: what LRU would have had more
  bool behind_ = false;
};

}   // namespace

std::unique_ptr<Policy> make_adaptive() { return std::make_unique<Adaptive>(); }

}   // namespace tensorcache
